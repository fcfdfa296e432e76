// The search page: the query is in the address, its results are in the grid.

import { describe, showAsked } from "/static/asked.js";
import { copy } from "/static/clipboard.js";
import { Details, rowOf } from "/static/details.js";
import { make, makeButton } from "/static/elements.js";
import { disableSafeMode, showFilters, watchFilters } from "/static/filters.js";
import { Grid } from "/static/grid.js";
import { watchImageQueries } from "/static/image_query.js";
import { watchKeys } from "/static/keys.js";
import { showExamples, showRecent } from "/static/landing.js";
import { DEFAULTS, fromAddress, hasFilters, isAsked, row, search, toAddress, UNFILTERED } from "/static/query.js";
import { addRecent } from "/static/recent.js";
import { recall, remember } from "/static/storage.js";
import { watchTheme } from "/static/theme.js";

const PAGE = 40;
// Milliseconds after which a response counts as slow.
const SLOW = 200;
// The API's limits on one response and on paging.
const MAX_RESULTS = 1000;
const MAX_OFFSET = 5000;
const NOTICE = "notice-dismissed";
const TITLE = document.title;

const $ = (id) => document.getElementById(id);
const text = $("text");
const more = $("more");

let query = fromAddress(location.search);
let shown = ""; // the address and the upload of the query
let health = null;
let next = 0; // offset of the next page, null after the last one
let asking = null; // AbortController of the request in flight
let took = 0;
let summary = null; // promise of the query in words
let waiting = 0; // timer for a slow response
const uploads = new Map(); // uploaded images, for the browser's back button

const grid = new Grid($("results"), () => {
  say();
  // Removed cards leave room for more.
  if (!asking) fill();
});
const details = new Details({ links, follow, closed: (id) => grid.focus(id) });

// Searching.

// The addresses of what can be done with a result.
function links(result) {
  const similar = { ...query, text: "", negative_text: "", image: { id: result.id }, image_weight: 1 };
  const isOther = String(query.image?.id) !== String(result.id);
  return {
    details: `${toAddress(query)}#row-${result.id}`,
    similar: toAddress(similar),
    combined: query.text && isOther ? toAddress({ ...query, image: { id: result.id } }) : null,
  };
}

function change(values) {
  query = { ...query, ...values };
  let state = null;
  if (query.image?.upload) {
    const key = `${Date.now()}-${uploads.size}`;
    uploads.set(key, query.image);
    state = { upload: key };
  }
  history.pushState(state, "", toAddress(query));
  begin();
}

// Go to an address of this page.
function follow(href) {
  history.pushState(null, "", href);
  arrive();
}

// Show what the address asks for.
function arrive() {
  if (shown === placeOf()) {
    followHash();
    return;
  }
  query = fromAddress(location.search);
  const upload = uploads.get(history.state?.upload);
  if (upload) query.image = upload;
  begin();
}

function placeOf() {
  return `${location.search} ${history.state?.upload ?? ""}`;
}

async function followHash() {
  const id = rowOf(location.hash);
  if (id === null) {
    details.close();
    return;
  }
  if (details.isOpen && details.result.id === id) return;
  const known = grid.seen.get(id);
  try {
    const result = known ?? (await row(id));
    if (rowOf(location.hash) === id) details.show(result, known ? grid.results : []);
  } catch (error) {
    inform(error.message);
  }
}

async function begin() {
  asking?.abort();
  asking = null;
  shown = placeOf();
  reflect();
  if (isAsked(query)) {
    next = 0;
    busy(true);
    say("Searching …");
    summary = showQueryImage();
    await load();
  }
  followHash();
}

// Show the image of the query. Returns the query in words.
async function showQueryImage() {
  const mine = query;
  const { image } = mine;
  if (image) showAsked($("asked"), mine, null, change);
  const own = image?.id === undefined ? null : await row(image.id).catch(() => null);
  if (own && mine === query) showAsked($("asked"), mine, own, change);
  return describe(mine, own);
}

// Remember a query that found something to show. An upload cannot be asked for again.
async function keep(asked, inWords) {
  if (!asked.image?.upload) addRecent(toAddress(asked), await inWords);
}

// Most responses are fast: old results stay until then, and only slow ones show grey cards.
function busy(wanted) {
  clearTimeout(waiting);
  $("results").setAttribute("aria-busy", String(wanted));
  if (wanted) waiting = setTimeout(() => grid.showBlanks(), SLOW);
}

async function load() {
  const first = next === 0;
  const mine = new AbortController();
  asking = mine;
  more.disabled = true;
  try {
    const answer = await search(query, { k: PAGE, offset: next, signal: mine.signal });
    if (first) {
      busy(false);
      grid.clear();
      scrollTo(0, 0);
    }
    grid.add(answer.results, links);
    if (first) {
      took = answer.took_ms;
      keep(query, summary);
    }
    next = answer.next_offset === null || answer.next_offset > MAX_OFFSET ? null : answer.next_offset;
    more.textContent = "More results";
  } catch (error) {
    if (error.name === "AbortError") return;
    if (first) {
      busy(false);
      grid.clear();
      next = null;
      tell("Search failed", error.message, "Try again", begin, error.detail);
    } else {
      more.textContent = `${error.message} Try again`;
    }
    asking = null;
    finish();
    return;
  }
  asking = null;
  finish();
  fill();
}

function finish() {
  more.hidden = next === null;
  more.disabled = false;
  $("download").disabled = grid.seen.size === 0;
  say();
}

// Load more while the end of the list is near the window.
function fill() {
  if (next === null || asking || more.textContent !== "More results") return;
  if (more.getBoundingClientRect().top < innerHeight + 600) load();
}

// Showing.

function reflect() {
  const landing = !isAsked(query);
  document.body.classList.toggle("landing", landing);
  text.value = query.text;
  text.placeholder = query.image ? "Add words to the image" : "Describe an image";
  document.title = query.text ? `${query.text} – ${TITLE}` : TITLE;
  showFilters(query);
  $("message").hidden = true;
  $("asked").hidden = true;
  more.hidden = true;
  $("download").disabled = true;
  $("share").disabled = Boolean(query.image?.upload);
  $("share").title = query.image?.upload
    ? "A link cannot contain the image that you uploaded" : "Copy the address of this search";
  if (landing) {
    busy(false);
    grid.clear();
    showRecent(follow);
    showExamples({ follow, open: (result, list) => details.open(result, list) });
  }
  showNotice();
}

function showNotice() {
  $("notice").hidden = !health || health.tagged || !isAsked(query) || recall(NOTICE) !== null;
}

function say(words) {
  if (words === undefined) {
    const count = grid.shown;
    if (!isAsked(query) || asking) return;
    if (!count && next === null && $("message").hidden) sayNothing();
    const lost = grid.lostCount;
    const results = `${count}${next === null ? "" : "+"} ${count === 1 && next === null ? "result" : "results"}`;
    words = count ? `${results} in ${Math.max(1, Math.round(took))} ms` : "";
    if (lost) words += `${words ? " · " : ""}${lost} ${lost === 1 ? "image" : "images"} could not be loaded`;
  }
  $("status").textContent = words;
}

// Say something where it is seen: the start page has no status.
function inform(words) {
  if (isAsked(query)) say(words);
  else $("rows").textContent = words;
}

function sayNothing() {
  if (grid.lostCount) {
    tell("No image could be loaded", "The images are no longer at their URLs, or this computer is offline.");
  } else if (hasFilters(query)) {
    tell("Nothing found", "No result passes the filters.", "Remove the filters", () => change(UNFILTERED));
  } else {
    tell("Nothing found", "Try another text or an image.");
  }
}

function tell(title, words, action, act, detail) {
  const parts = [make("h2", "", title), make("p", "", words)];
  if (action) parts.push(makeButton("go", action, act));
  if (detail) parts.push(make("p", "detail", detail));
  $("message").replaceChildren(...parts);
  $("message").hidden = false;
}

async function download() {
  const button = $("download");
  button.disabled = true;
  try {
    const k = Math.min(grid.seen.size, MAX_RESULTS);
    const table = await search(query, { k, offset: 0, format: "parquet" });
    const link = make("a");
    link.href = URL.createObjectURL(table);
    link.download = "results.parquet";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  } catch (error) {
    say(`The list could not be downloaded. ${error.message}`);
  }
  button.disabled = false;
}

// Events.

const imageQueries = watchImageQueries({
  panel: $("image-query"), opener: $("open-image-query"), file: $("file"), address: $("address"),
  url: $("url"), overlay: $("dropping"), ask: (image) => change({ image }), refuse: inform,
});
watchTheme($("theme"));
watchFilters(change);
watchKeys({ text, results: $("results"), imageQueries, opener: $("open-image-query") });

$("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const words = text.value.trim();
  if (!words && !query.image) return;
  text.blur(); // hides the keyboard of a phone
  change({ text: words });
});
$("results").addEventListener("click", (event) => {
  const link = event.target.closest(".card > a, a.similar");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  if (link.dataset.id) details.open(grid.seen.get(Number(link.dataset.id)), grid.results);
  else follow(link.getAttribute("href"));
});
$("share").addEventListener("click", (event) => copy(location.origin + toAddress(query), event.currentTarget));
$("download").addEventListener("click", download);
$("dismiss").addEventListener("click", () => {
  remember(NOTICE, "yes");
  $("notice").hidden = true;
});
more.addEventListener("click", load);
addEventListener("scroll", fill, { passive: true });
addEventListener("resize", fill, { passive: true });
addEventListener("popstate", arrive);

async function start() {
  begin();
  if (!isAsked(query)) text.focus();
  try {
    health = await (await fetch("/api/health")).json();
  } catch {
    return; // the first search will show the error
  }
  const count = health.rows.toLocaleString("en");
  $("rows").textContent = `${count} ${health.rows === 1 ? "image" : "images"} with captions`;
  document.querySelector(".segments").hidden = health.indices.length < 2;
  disableSafeMode(health.tagged);
  if (health.indices.length === 1 && DEFAULTS.index !== health.indices[0]) {
    DEFAULTS.index = query.index = health.indices[0];
    begin();
  }
  showFilters(query);
  showNotice();
}

start();
