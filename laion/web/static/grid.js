// The results: cards in rows, without gaps where images fail to load, and keyboard navigation.

import { licenceName, loadImage, make, outside, webAddress } from "/static/elements.js";

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
    this.seen = new Map(); // results by their rows
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
  // `hrefs` gives the addresses of a result's details and of a search for similar images.
  add(results, hrefs) {
    for (const result of results) {
      if (this.seen.has(result.id)) continue;
      this.seen.set(result.id, result);
      this.element.append(this.#card(result, hrefs(result)));
    }
  }

  // The results that are shown, in their order.
  get results() {
    return [...this.element.querySelectorAll(".card > a")].map((link) => this.seen.get(Number(link.dataset.id)));
  }

  // Give the focus to a result.
  focus(id) {
    this.element.querySelector(`.card > a[data-id="${Number(id)}"]`)?.focus();
  }

  get shown() {
    return this.element.querySelectorAll(".card").length;
  }

  #card(result, { details, similar }) {
    const card = make("article", "card");
    const caption = result.text?.trim() || "No caption";
    const link = make("a");
    link.href = details;
    link.dataset.id = result.id;
    link.title = "Show details";
    const image = make("img");
    image.alt = caption;
    image.loading = "lazy";
    image.decoding = "async";
    image.addEventListener("load", () => {
      if (!(result.width && result.height)) {
        card.style.setProperty("--ratio", ratioOf(image.naturalWidth, image.naturalHeight));
      }
      image.classList.add("there");
    });
    card.style.setProperty("--ratio", ratioOf(result.width, result.height));
    const score = make("span", "score", result.similarity.toFixed(3));
    score.title = "Similarity";
    link.append(image, score);
    card.append(link, make("p", "caption", caption), facts(result, similar));
    card.querySelector(".caption").title = caption;
    loadImage(image, result, () => this.#drop(card));
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

function facts(result, similar) {
  const line = make("p", "facts");
  const more = make("a", "similar", "similar");
  more.href = similar;
  more.title = "Find similar images";
  line.append(more);
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

function ratioOf(width, height) {
  if (!width || !height) return 1;
  return Math.min(Math.max(width / height, NARROWEST), WIDEST).toFixed(3);
}
