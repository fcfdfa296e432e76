// Copy a text, and say so on the button that was pressed.

const SHOWN = 1500; // milliseconds

export async function copy(text, button) {
  const copied = await write(text);
  const label = button.querySelector("span:not(.hidden)") ?? button;
  button.dataset.label ??= label.textContent;
  label.textContent = copied ? "Copied" : "Not copied";
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => { label.textContent = button.dataset.label; }, SHOWN);
}

// The clipboard's own interface is there on https and localhost only.
async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = document.createElement("textarea");
    field.value = text;
    field.className = "hidden";
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
