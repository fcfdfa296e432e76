// A query: as the page's address, and as a request to the API.

export const DEFAULTS = { index: "image", safe: true, min_size: 0, license: "any", deduplicate: false };
const QUESTIONS = ["text", "image_url", "id"];

// A query is {question: {text} | {image_url} | {id} | {upload, name}, ...DEFAULTS}.

export function fromAddress(search) {
  const given = new URLSearchParams(search);
  const query = { ...DEFAULTS, question: null };
  for (const name of QUESTIONS) {
    const value = given.get(name);
    if (value !== null && value.trim()) query.question = { [name]: value };
  }
  if (given.get("index") === "text") query.index = "text";
  if (given.has("min_size")) query.min_size = Number.parseInt(given.get("min_size"), 10) || 0;
  if (given.has("license")) query.license = given.get("license");
  query.safe = given.get("safe") !== "false";
  query.deduplicate = given.get("deduplicate") === "true";
  return query;
}

// Parameters that differ from the defaults, to keep addresses short; uploads have none.
export function parameters(query) {
  const found = new URLSearchParams();
  for (const name of QUESTIONS) {
    if (query.question?.[name] !== undefined) found.set(name, query.question[name]);
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

export function hasFilters(query) {
  return query.min_size > 0 || query.license !== "any" || query.deduplicate;
}

// Send a query to the API. Throws an Error with the API's message when it fails.
export async function search(query, { k, offset, format = "json", signal }) {
  const wanted = parameters(query);
  wanted.set("k", k);
  if (offset) wanted.set("offset", offset);
  if (format !== "json") wanted.set("format", format);
  const request = { signal, headers: { Accept: "application/json" } };
  if (query.question.upload) {
    request.method = "POST";
    request.body = new FormData();
    request.body.set("image", query.question.upload, "image");
  }
  let response;
  try {
    response = await fetch(`/api/search?${wanted}`, request);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server cannot be reached.");
  }
  if (!response.ok) {
    const body = await response.json().catch(() => ({}));
    throw new Error(body.error ?? `The server answered ${response.status}.`);
  }
  return format === "json" ? response.json() : response.blob();
}
