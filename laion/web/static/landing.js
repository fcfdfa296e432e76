// The start page: example queries, results of the first one, and the last searches.

import { loadImage, make, makeButton } from "/static/elements.js";
import { clearRecent, recentSearches } from "/static/recent.js";

const $ = (id) => document.getElementById(id);

function chip(words, href, follow) {
  const link = make("a", "chip", words);
  link.href = href;
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    follow(href);
  });
  return link;
}

const toText = (text) => `/?${new URLSearchParams({ text })}`;

let isAsked = false;

// Ask for the examples when they are first needed. `follow(href)` goes to an address of this page;
// `open(result, list)` shows details.
export async function showExamples({ follow, open }) {
  if (isAsked) return;
  isAsked = true;
  let examples;
  try {
    examples = await (await fetch("/api/examples")).json();
  } catch {
    return; // the first search will show the error
  }
  const { texts = [], results = [] } = examples;
  $("examples").hidden = !texts.length;
  $("examples").replaceChildren(
    make("span", "", "Try"), ...texts.map((text) => chip(text, toText(text), follow)),
  );
  const strip = $("strip-images");
  const count = () => { $("strip").hidden = !strip.childElementCount; };
  $("strip-title").textContent = texts.length ? `Results for “${texts[0]}”` : "";
  strip.replaceChildren(...results.map((result) => {
    const button = makeButton("", "", () => open(result, results));
    const image = make("img");
    image.alt = result.text?.trim() || "No caption";
    button.title = image.alt;
    button.append(image);
    loadImage(image, result, () => { button.remove(); count(); });
    return button;
  }));
  count();
}

export function showRecent(follow) {
  const found = recentSearches();
  const clear = makeButton("link", "Clear", () => {
    clearRecent();
    showRecent(follow);
  });
  $("recent").replaceChildren(
    make("span", "", "Recent"), ...found.slice(0, 8).map((each) => chip(each.words, each.address, follow)), clear,
  );
  $("recent").hidden = !found.length;
  const texts = found.map((each) => new URLSearchParams(each.address.slice(1)).get("text"));
  $("recent-texts").replaceChildren(...[...new Set(texts)].filter(Boolean).map((text) => {
    const option = make("option");
    option.value = text;
    return option;
  }));
}
