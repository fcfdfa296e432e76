// A query: as the page's address, and as a request to the API.

import { explain, SearchError } from "/static/errors.js";

// A query is {text, image, ...DEFAULTS}; `image` is null or {id} | {image_url} | {upload, name}.
// A similarity of 0 stands for no limit.
export const DEFAULTS = {
  negative_text: "", image_weight: 1, index: "image", safe: true, min_size: 0, license: "any",
  min_similarity: 0, deduplicate: false,
};
const IMAGES = ["id", "image_url"];
const NUMBERS = ["image_weight", "min_size", "min_similarity"];

export function isAsked(query) {
  return Boolean(query.text || query.image);
}

export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const query = { text: given.get("text")?.trim() ?? "", image: null, ...DEFAULTS };
  const kind = IMAGES.find((name) => given.get(name)?.trim());
  if (kind) query.image = { [kind]: given.get(kind) };
  for (const name of NUMBERS) {
    const value = Number.parseFloat(given.get(name));
    if (Number.isFinite(value)) query[name] = value;
  }
  if (given.get("index") === "text") query.index = "text";
  if (given.has("license")) query.license = given.get("license");
  query.negative_text = given.get("negative_text")?.trim() ?? "";
  query.safe = given.get("safe") !== "false";
  query.deduplicate = given.get("deduplicate") === "true";
  return query;
}

// Parameters that differ from the defaults, to keep addresses short; uploads have none.
export function parameters(query) {
  const found = new URLSearchParams();
  if (query.text) found.set("text", query.text);
  for (const name of IMAGES) {
    if (query.image?.[name] !== undefined) found.set(name, query.image[name]);
  }
  for (const [name, value] of Object.entries(DEFAULTS)) {
    if (query[name] !== value) found.set(name, query[name]);
  }
  return found;
}

export function toAddress(query) {
  const found = parameters(query).toString();
  return found ? `/?${found}` : "/";
}

// What the filters of a query are without any of them.
export const UNFILTERED = { min_size: 0, license: "any", deduplicate: false, min_similarity: 0 };

export function hasFilters(query) {
  return Object.entries(UNFILTERED).some(([name, value]) => query[name] !== value);
}

// Send a query to the API. Throws a SearchError when it fails.
export async function search(query, { k, offset, format = "json", signal }) {
  const wanted = parameters(query);
  wanted.set("k", k);
  if (offset) wanted.set("offset", offset);
  if (format !== "json") wanted.set("format", format);
  const request = { signal, headers: { Accept: "application/json" } };
  if (query.image?.upload) {
    request.method = "POST";
    request.body = new FormData();
    request.body.set("image", query.image.upload, "image");
  }
  const response = await get(`/api/search?${wanted}`, request);
  return format === "json" ? response.json() : response.blob();
}

// Get the metadata of a row. Throws a SearchError when it fails.
export async function row(id) {
  return (await get(`/api/row/${encodeURIComponent(id)}`)).json();
}

async function get(address, request = {}) {
  let response;
  try {
    response = await fetch(address, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new SearchError("The server cannot be reached.");
  }
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw explain(response.status, body, response.headers.get("retry-after"));
}
