// The image of a query, above its results: with a button that takes it out of the query and, beside
// a text, its weight.

import { loadImage, make, makeCross, webAddress } from "/static/elements.js";

// Steps of the slider: the weight is 2 to the power of its value.
const WEIGHTS = { min: -2, max: 2, step: 0.5 };

// `asked` is the element; `own` the row that is searched by, where it is known; `change` gets the
// values of the query that change.
export function showAsked(asked, query, own, change) {
  const image = make("img");
  image.alt = "";
  const drop = makeCross("Remove the image from the search", () => change({ image: null, image_weight: 1 }));
  const parts = [image, make("span", "words", `Like ${imageWords(query.image, own)}`)];
  if (query.text) parts.push(...weight(query, change));
  asked.replaceChildren(...parts, drop);
  asked.hidden = false;
  show(image, query.image, own);
}

// A query in a few words.
export function describe(query, own) {
  const parts = [];
  if (query.text) parts.push(query.text);
  if (query.image) parts.push(`like ${imageWords(query.image, own)}`);
  if (query.negative_text) parts.push(`not ${query.negative_text}`);
  return parts.join(" · ");
}

function imageWords(image, own) {
  if (image.upload) return image.name;
  if (image.image_url !== undefined) return image.image_url;
  return own?.text?.trim() ? `“${own.text.trim()}”` : `image ${image.id}`;
}

function show(image, asked, own) {
  const lost = () => image.remove();
  if (asked.upload) {
    image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
    image.addEventListener("error", lost);
    image.src = URL.createObjectURL(asked.upload);
  } else {
    loadImage(image, own ?? { url: webAddress(asked.image_url) }, lost);
  }
}

function weight(query, change) {
  const label = make("label", "weight");
  const slider = make("input");
  Object.assign(slider, { type: "range", ...WEIGHTS, value: Math.log2(query.image_weight || 0.25) });
  slider.setAttribute("aria-label", "Weight of the image");
  slider.addEventListener("change", () => change({ image_weight: 2 ** Number(slider.value) }));
  label.append(make("span", "", "text"), slider, make("span", "", "image"));
  return [label];
}
