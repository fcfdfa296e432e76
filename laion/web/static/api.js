// The page about the API: /openapi.json for people.

import { make } from "/static/elements.js";
import { watchTheme } from "/static/theme.js";

const EXAMPLES = {
  search: (origin) => `curl '${origin}/api/search?text=a+red+circle&negative_text=blue&k=5'`,
  searchByUpload: (origin) => `curl -F image=@photo.jpg '${origin}/api/search?text=at+night&k=5'`,
  picture: (origin) => `curl -o 12.jpg '${origin}/api/picture/12'`,
  row: (origin) => `curl '${origin}/api/row/12'`,
  examples: (origin) => `curl '${origin}/api/examples'`,
  health: (origin) => `curl '${origin}/api/health'`,
};

// The kind of a value and its limits, in a few words.
function kind(schema) {
  const types = [schema.type].flat().filter(Boolean);
  const words = [types.map((type) => (type === "null" ? "null" : type)).join(" or ")];
  if (schema.enum) words.push(schema.enum.join(", "));
  if (schema.minimum !== undefined && schema.maximum < 2 ** 52) words.push(`${schema.minimum} to ${schema.maximum}`);
  if (schema.maxLength) words.push(`at most ${schema.maxLength} characters`);
  if (schema.default !== undefined) words.push(`default ${schema.default}`);
  return words.filter(Boolean).join("; ");
}

function table(title, rows) {
  const whole = make("table");
  const head = make("tr");
  head.append(make("th", "", title), make("th", "", "value"), make("th", "", ""));
  whole.append(head);
  for (const [name, values, words] of rows) {
    const line = make("tr");
    line.append(make("td", "", name), make("td", "", values), make("td", "", words));
    whole.append(line);
  }
  const wide = make("div", "wide");
  wide.append(whole);
  return wide;
}

function resolved(schema, document) {
  const name = schema?.$ref?.split("/").at(-1);
  return name ? document.components.schemas[name] : schema;
}

// The fields of an object, and below them those of the objects in its lists.
function fields(schema, document, prefix = "") {
  const found = [];
  for (const [name, value] of Object.entries(schema.properties ?? {})) {
    found.push([prefix + name, kind(value), value.description ?? ""]);
    const items = resolved(value.items, document);
    if (items?.properties) found.push(...fields(items, document, `${prefix}${name}[].`));
  }
  return found;
}

// Names of the parameters that are those of the GET request of the same path.
function inherited(path, method, document) {
  const get = method === "get" ? undefined : document.paths[path].get;
  return new Set((get?.parameters ?? []).map((each) => each.name));
}

function section(path, method, operation, document) {
  const parts = [make("h2", "", `${method.toUpperCase()} ${path}`), make("p", "", operation.summary)];
  if (operation.description) parts.push(make("p", "", operation.description));
  if (EXAMPLES[operation.operationId]) parts.push(make("pre", "", EXAMPLES[operation.operationId](location.origin)));
  const others = inherited(path, method, document);
  const given = (operation.parameters ?? []).filter((each) => !others.has(each.name)).map((each) => [each.name, kind(each.schema), each.description ?? ""]);
  const upload = operation.requestBody && ["image", "file", "The image, as multipart/form-data."];
  if (upload) given.unshift(upload);
  if (given.length) parts.push(table("parameter", given));
  if (others.size) {
    parts.push(make("p", "", `The other parameters, in the URL, and the response are those of GET ${path}.`));
    return parts;
  }
  const answer = resolved(operation.responses["200"].content["application/json"]?.schema, document);
  if (answer?.properties) parts.push(make("h3", "", "Response"), table("field", fields(answer, document)));
  return parts;
}

async function show() {
  const document_ = await (await fetch("/openapi.json")).json();
  const parts = [];
  for (const [path, methods] of Object.entries(document_.paths)) {
    for (const [method, operation] of Object.entries(methods)) parts.push(...section(path, method, operation, document_));
  }
  document.getElementById("paths").replaceChildren(...parts);
}

watchTheme(document.getElementById("theme"));
show().catch(() => { document.getElementById("state").textContent = "The server cannot be reached."; });
