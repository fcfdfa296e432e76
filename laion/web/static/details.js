// The details of one result in a dialog. Its row is in the address (#row-12), so that a link leads to
// it and the browser's back button closes it.

import { copy } from "/static/clipboard.js";
import { licenceName, loadImage, make, makeButton, outside, webAddress } from "/static/elements.js";

const HASH = /^#row-(\d{1,16})$/;
const TAGS = { UNLIKELY: "unlikely to be NSFW", UNSURE: "unsure", NSFW: "NSFW" };

const $ = (id) => document.getElementById(id);

// The row whose details an address asks for; null if it asks for none.
export function rowOf(hash) {
  const match = HASH.exec(hash);
  return match ? Number(match[1]) : null;
}

export class Details {
  // `links(result)` gives the addresses {details, similar, combined} of a result; `combined` may be
  // null. `follow(href)` goes to an address of this page; `closed(id)` is called at the end.
  constructor({ links, follow, closed }) {
    this.dialog = $("details");
    this.links = links;
    this.closed = closed;
    this.result = null;
    this.list = [];
    this.isPushed = false; // whether the address before this one is that of the results
    $("details-previous").addEventListener("click", () => this.#step(-1));
    $("details-next").addEventListener("click", () => this.#step(1));
    $("details-close").addEventListener("click", () => this.#leave());
    $("details-share").addEventListener("click", (event) => copy(location.href, event.currentTarget));
    for (const id of ["details-similar", "details-combine"]) {
      $(id).addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        follow(event.currentTarget.getAttribute("href"));
      });
    }
    this.dialog.addEventListener("cancel", (event) => {
      event.preventDefault();
      this.#leave();
    });
    this.dialog.addEventListener("click", (event) => {
      if (event.target === this.dialog) this.#leave(); // beside it
    });
    this.dialog.addEventListener("keydown", (event) => {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.#step(step);
    });
  }

  get isOpen() {
    return this.dialog.open;
  }

  // Open it for a result of a list, and put it into the address.
  open(result, list) {
    history.pushState(history.state, "", this.links(result).details);
    this.isPushed = true;
    this.show(result, list);
  }

  // Show a result whose address is there already.
  show(result, list) {
    this.result = result;
    this.list = list;
    this.#fill(result);
    if (!this.dialog.open) this.dialog.showModal();
    this.dialog.scrollTop = 0;
  }

  // Close it, when the address no longer asks for it.
  close() {
    if (!this.dialog.open) return;
    this.isPushed = false;
    this.dialog.close();
    this.closed(this.result.id);
  }

  #leave() {
    if (this.isPushed) {
      history.back(); // the page closes the dialog
    } else {
      history.replaceState(history.state, "", location.pathname + location.search);
      this.close();
    }
  }

  #step(by) {
    const place = this.list.findIndex((result) => result.id === this.result.id);
    const next = place < 0 ? undefined : this.list[place + by];
    if (!next) return;
    history.replaceState(history.state, "", this.links(next).details);
    this.show(next, this.list);
  }

  #fill(result) {
    const image = $("details-image");
    const caption = result.text?.trim() ?? "";
    image.removeAttribute("src");
    image.alt = caption || "No caption";
    image.hidden = false;
    $("details-lost").hidden = true;
    loadImage(image, result, () => {
      image.hidden = true;
      $("details-lost").hidden = false;
    });
    $("details-facts").replaceChildren(...facts(result, caption));
    const { similar, combined } = this.links(result);
    $("details-similar").href = similar;
    $("details-combine").hidden = combined === null;
    $("details-combine").href = combined ?? "/";
    const place = this.list.findIndex((each) => each.id === result.id);
    $("details-previous").disabled = place <= 0;
    $("details-next").disabled = place < 0 || place === this.list.length - 1;
  }
}

function facts(result, caption) {
  const found = [...fact("Caption", make("p", caption ? "" : "none", caption || "There is none."), caption)];
  const address = webAddress(result.url);
  if (result.url) {
    const shown = address ? outside(address, result.url) : make("span", "", result.url);
    found.push(...fact("URL of the original", shown, result.url));
  }
  if (result.width && result.height) {
    found.push(...fact("Size of the original", make("span", "", `${result.width} × ${result.height} pixels`)));
  }
  found.push(...fact("Licence", licence(result.license)));
  const tag = make("span", result.nsfw && result.nsfw !== "UNLIKELY" ? "tag" : "");
  tag.textContent = result.nsfw ? TAGS[result.nsfw] ?? result.nsfw : "not tagged";
  found.push(...fact("NSFW", tag));
  if (result.similarity !== undefined) {
    found.push(...fact("Similarity to the query", make("span", "", result.similarity.toFixed(4))));
  }
  found.push(...fact("Row of the index", make("span", "", String(result.id))));
  return found;
}

function fact(name, value, copied = "") {
  const place = make("dd");
  place.append(value);
  if (copied) {
    const button = makeButton("copy", "Copy", (event) => copy(copied, event.currentTarget));
    button.setAttribute("aria-label", `Copy: ${name}`);
    place.append(button);
  }
  return [make("dt", "", name), place];
}

function licence(license) {
  const name = licenceName(license);
  if (name) return outside(license, name);
  return make("span", "", license && license !== "?" ? license : "unknown");
}
