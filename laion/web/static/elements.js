// Elements, and links that are safe to follow.

// Text is added as a text node, never as markup.
export function make(tag, className = "", text = "") {
  const element = document.createElement(tag);
  if (className) element.className = className;
  if (text) element.textContent = text;
  return element;
}

export function makeButton(className, text, act) {
  const button = make("button", className, text);
  button.type = "button";
  button.addEventListener("click", act);
  return button;
}

// A round button with a cross, which removes something.
export function makeCross(title, act) {
  const button = makeButton("icon", "", act);
  button.title = title;
  button.append(document.getElementById("cross").content.cloneNode(true), make("span", "hidden", title));
  return button;
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

export function outside(href, text) {
  const link = make("a", "", text);
  link.href = href;
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
  link.referrerPolicy = "no-referrer";
  return link;
}

export function licenceName(license) {
  const match = /creativecommons\.org\/(?:licenses\/([a-z-]+)|publicdomain\/(zero|mark))/i.exec(license ?? "");
  if (!match || !webAddress(license)) return null;
  if (match[2]) return match[2] === "zero" ? "CC0" : "public domain";
  return `CC ${match[1].toUpperCase()}`;
}

// Load the image of a row: from this server, else from its URL; `lost` is called if there is none.
export function loadImage(image, result, lost) {
  const sources = [result.picture, webAddress(result.url)].filter(Boolean);
  const next = () => {
    if (sources.length) image.src = sources.shift();
    else lost();
  };
  image.referrerPolicy = "no-referrer";
  image.onerror = next;
  if (sources.length) next();
  else queueMicrotask(lost);
}
