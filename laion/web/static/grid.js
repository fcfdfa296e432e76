// The results: cards in rows, without gaps where images fail to load, and keyboard navigation.

// Aspect ratios beyond these are cropped: a banner would take a whole row.
const NARROWEST = 0.6;
const WIDEST = 2.4;

export class Grid {
  // `lost` is called with the number of images that could not be loaded so far.
  constructor(element, lost) {
    this.element = element;
    this.lost = lost;
    this.clear();
    element.addEventListener("keydown", (event) => this.#move(event));
  }

  clear() {
    this.element.replaceChildren();
    this.seen = new Set();
    this.lostCount = 0;
  }

  // Show grey cards until the first results arrive.
  showBlanks() {
    this.clear();
    for (const ratio of [1.4, 0.8, 1.2, 1, 1.6, 1.1, 0.75, 1.3, 1, 1.5]) {
      const card = make("div", "card blank");
      card.style.setProperty("--ratio", ratio);
      card.append(make("div"), make("p"));
      card.setAttribute("aria-hidden", "true");
      this.element.append(card);
    }
  }

  // Pages of an approximate search may overlap: show each row once.
  add(results, hrefOf) {
    for (const result of results) {
      if (this.seen.has(result.id)) continue;
      this.seen.add(result.id);
      this.element.append(this.#card(result, hrefOf(result)));
    }
  }

  get shown() {
    return this.element.querySelectorAll(".card").length;
  }

  #card(result, href) {
    const card = make("article", "card");
    const caption = result.text?.trim() || "No caption";
    const link = make("a");
    link.href = href;
    link.dataset.id = result.id;
    link.title = "Find similar images";
    const image = make("img");
    image.alt = caption;
    image.loading = "lazy";
    image.decoding = "async";
    image.referrerPolicy = "no-referrer";
    const sources = [result.picture, webAddress(result.url)].filter(Boolean);
    image.addEventListener("load", () => {
      if (!(result.width && result.height)) {
        card.style.setProperty("--ratio", ratioOf(image.naturalWidth, image.naturalHeight));
      }
      image.classList.add("there");
    });
    image.addEventListener("error", () => {
      if (sources.length) image.src = sources.shift();
      else this.#drop(card);
    });
    card.style.setProperty("--ratio", ratioOf(result.width, result.height));
    const score = make("span", "score", result.similarity.toFixed(3));
    score.title = "Similarity";
    link.append(image, score);
    card.append(link, make("p", "caption", caption), facts(result));
    card.querySelector(".caption").title = caption;
    if (sources.length) image.src = sources.shift();
    else queueMicrotask(() => this.#drop(card));
    return card;
  }

  #drop(card) {
    const focused = card.contains(document.activeElement);
    const next = card.nextElementSibling ?? card.previousElementSibling;
    card.remove();
    if (focused) next?.querySelector("a")?.focus();
    this.lostCount += 1;
    this.lost(this.lostCount);
  }

  #move(event) {
    const link = event.target.closest(".card > a");
    if (!link || event.altKey || event.ctrlKey || event.metaKey) return;
    const links = [...this.element.querySelectorAll(".card > a")];
    const place = links.indexOf(link);
    const target = {
      ArrowRight: () => links[place + 1],
      ArrowLeft: () => links[place - 1],
      ArrowDown: () => nearest(links.slice(place + 1), link, 1),
      ArrowUp: () => nearest(links.slice(0, place).reverse(), link, -1),
      Home: () => links[0],
      End: () => links.at(-1),
    }[event.key]?.();
    if (!target) return;
    event.preventDefault();
    target.focus();
    target.closest(".card").scrollIntoView({ block: "nearest" });
  }
}

// The link of the next row in a direction whose center is nearest; `links` start at the near end.
function nearest(links, from, direction) {
  const box = from.getBoundingClientRect();
  const middle = box.left + box.width / 2;
  let row = null;
  let best;
  let least = Infinity;
  for (const link of links) {
    const other = link.getBoundingClientRect();
    if (direction * (other.top - box.top) < 1) continue;
    row ??= other.top;
    if (Math.abs(other.top - row) > 1) break;
    const distance = Math.abs(other.left + other.width / 2 - middle);
    if (distance < least) [least, best] = [distance, link];
  }
  return best;
}

function facts(result) {
  const line = make("p", "facts");
  if (result.width && result.height) line.append(make("span", "", `${result.width} × ${result.height}`));
  if (result.nsfw && result.nsfw !== "UNLIKELY") line.append(make("span", "tag", result.nsfw.toLowerCase()));
  const licence = licenceName(result.license);
  if (licence) line.append(outside(result.license, licence));
  const address = webAddress(result.url);
  if (address) {
    const source = outside(address, "source");
    source.title = address;
    line.append(source);
  }
  return line;
}

// URLs in rows are untrusted: only http and https become links.
export function webAddress(text) {
  try {
    const url = new URL(text);
    return url.protocol === "http:" || url.protocol === "https:" ? url.href : null;
  } catch {
    return null;
  }
}

export function licenceName(license) {
  const match = /creativecommons\.org\/(?:licenses\/([a-z-]+)|publicdomain\/(zero|mark))/i.exec(license ?? "");
  if (!match || !webAddress(license)) return null;
  if (match[2]) return match[2] === "zero" ? "CC0" : "public domain";
  return `CC ${match[1].toUpperCase()}`;
}

function outside(href, text) {
  const link = make("a", "", text);
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.referrerPolicy = "no-referrer";
  return link;
}

function ratioOf(width, height) {
  if (!width || !height) return 1;
  return Math.min(Math.max(width / height, NARROWEST), WIDEST).toFixed(3);
}

// Text is added as a text node, never as markup.
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}
