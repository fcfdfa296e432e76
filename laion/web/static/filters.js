// The controls below the search box: they show the query, and report what is changed.

import { hasFilters } from "/static/query.js";

const $ = (id) => document.getElementById(id);
const SELECTS = ["min_size", "license"];
const radios = () => document.getElementsByName("index");

// `change` gets the values of the query that change.
export function watchFilters(change) {
  for (const radio of radios()) radio.addEventListener("change", () => change({ index: radio.value }));
  $("min_size").addEventListener("change", () => change({ min_size: Number($("min_size").value) }));
  $("license").addEventListener("change", () => change({ license: $("license").value }));
  for (const name of ["deduplicate", "safe"]) {
    $(name).addEventListener("change", () => change({ [name]: $(name).checked }));
  }
  $("min_similarity").addEventListener("input", showLeast);
  $("min_similarity").addEventListener("change", () => change({ min_similarity: Number($("min_similarity").value) }));
  $("negative_text").addEventListener("change", () => change({ negative_text: $("negative_text").value.trim() }));
  $("open-filters").addEventListener("click", (event) => {
    const open = $("filters").classList.toggle("open");
    event.currentTarget.setAttribute("aria-expanded", String(open));
  });
}

function showLeast() {
  const value = Number($("min_similarity").value);
  $("least").textContent = value ? `≥ ${value.toFixed(2)}` : "any";
}

export function showFilters(query) {
  for (const radio of radios()) radio.checked = radio.value === query.index;
  for (const name of SELECTS) $(name).value = String(query[name]);
  $("deduplicate").checked = query.deduplicate;
  $("safe").checked = query.safe && !$("safe").disabled;
  $("min_similarity").value = String(query.min_similarity);
  $("negative_text").value = query.negative_text;
  showLeast();
  $("min_size").classList.toggle("on", query.min_size > 0);
  $("license").classList.toggle("on", query.license !== "any");
  $("negative_text").classList.toggle("on", query.negative_text !== "");
  const on = hasFilters(query) || query.negative_text !== "";
  $("filters-on").textContent = on ? " (on)" : "";
  $("filters-on").classList.toggle("hidden", !on);
}

// Safe mode cannot be chosen where no row has a tag: it would hide nothing.
export function disableSafeMode(isTagged) {
  $("safe").disabled = !isTagged;
  $("safe-label").title = isTagged ? "" : "The images of this index have no NSFW tags";
}
