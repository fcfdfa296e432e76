"""Words of the languages that the made WAT file is in, with each one's share of its pages.

Shares follow Common Crawl's statistics of languages, the ten largest made to fill the whole.
"""

from __future__ import annotations

_WORDS: dict[str, tuple[float, str]] = {
    "en": (
        55,
        """
        the of and to in a is for on with that this from your our new best home free all
        how more about house kitchen garden wooden table chair lamp window door
        beautiful vintage black white red blue green small large woman man child
        children people family dog cat horse bird flower tree mountain river beach
        sunset city street bridge church castle museum market food recipe chicken salad
        cake chocolate coffee wine summer winter spring autumn wedding dress shoes bag
        jacket leather cotton design art painting print poster photo picture image logo
        icon book cover music guitar piano concert festival game player team football
        school university student teacher office business company product price sale
        offer online store shop review guide travel hotel room view map car engine wheel
        bike train plane boat health care beauty hair skin body fitness water light
        night day year time world country history story news video phone computer screen
        software service support contact team portrait landscape close young old happy
        modern classic
        """,
    ),
    "ru": (
        8,
        """
        и в на с для из по от как что это дом кухня сад стол стул лампа окно дверь
        красивая новый белый чёрный женщина мужчина дети семья собака кошка цветы дерево
        гора река пляж закат город улица мост церковь музей рынок рецепт курица салат
        торт шоколад кофе вино лето зима свадьба платье обувь сумка куртка фото картина
        книга музыка концерт игра школа магазин цена отзывы
        """,
    ),
    "de": (
        8,
        """
        und der die das für mit von auf im ist ein eine nicht haus küche garten tisch
        stuhl lampe fenster tür schöne neue weiß schwarz grün frau mann kinder familie
        hund katze blumen baum berg fluss strand sonnenuntergang stadt straße brücke
        kirche schloss markt rezept hähnchen kuchen schokolade kaffee wein sommer winter
        hochzeit kleid schuhe tasche jacke bild gemälde buch musik konzert spiel schule
        geschäft preis angebot größe natürlich über während
        """,
    ),
    "ja": (
        7,
        """
        の に は を た が で て と 家 台所 庭 机 椅子 窓 美しい 新しい 白い 黒い 女性
        男性 子供 家族 犬 猫 花 木 山 川 海 夕日 街 橋 教会 城 市場 料理 鶏肉 サラダ
        ケーキ チョコレート コーヒー 夏 冬 結婚式 ドレス 靴 写真 絵 本 音楽 コンサート
        ゲーム 学校 店 価格 商品 画像 デザイン
        """,
    ),
    "es": (
        7,
        """
        de la el en y los las para con por una casa cocina jardín mesa silla lámpara
        ventana puerta hermosa nuevo blanco negro mujer hombre niños familia perro gato
        flores árbol montaña río playa ciudad calle puente iglesia castillo mercado
        receta pollo ensalada pastel chocolate café vino verano invierno boda vestido
        zapatos bolso foto pintura libro música concierto juego escuela tienda precio
        oferta españa año diseño mañana
        """,
    ),
    "fr": (
        6,
        """
        de la le les et des pour avec dans une maison cuisine jardin table chaise lampe
        fenêtre porte belle nouveau blanc noir femme homme enfants famille chien chat
        fleurs arbre montagne rivière plage ville rue pont église château marché recette
        poulet salade gâteau chocolat café vin été hiver mariage robe chaussures sac
        veste photo peinture livre musique jeu école magasin prix crème déjà français
        qualité
        """,
    ),
    "zh": (
        5,
        """
        的 一 是 在 了 和 有 我 这 房子 厨房 花园 桌子 椅子 窗户 美丽 新 白色 黑色 女人
        男人 孩子 家庭 狗 猫 花 树 山 河 海滩 日落 城市 街道 桥 教堂 市场 食谱 鸡肉 蛋糕
        咖啡 夏天 冬天 婚礼 裙子 鞋子 图片 照片 书 音乐 游戏 学校 商店 价格 产品 公司
        设计
        """,
    ),
    "pt": (
        2,
        """
        de da do em para com uma casa cozinha jardim mesa cadeira janela porta bonita
        novo branco preto mulher homem crianças família cachorro gato flores árvore
        montanha rio praia cidade rua igreja castelo mercado receita frango salada bolo
        café vinho verão inverno casamento vestido
        """,
    ),
    "it": (
        2,
        """
        di il la per con una casa cucina giardino tavolo sedia finestra porta bella
        nuovo bianco nero donna uomo bambini famiglia cane gatto fiori albero montagna
        fiume spiaggia città strada ponte chiesa castello mercato ricetta pollo insalata
        torta cioccolato caffè vino estate inverno
        """,
    ),
}

#: code -> (share in percent, words)
LANGUAGES: dict[str, tuple[float, list[str]]] = {
    code: (share, words.split()) for code, (share, words) in _WORDS.items()
}
