// Search by image: a chosen, dropped or pasted file, or a URL.

export function watchImageQueries({ panel, opener, file, address, url, overlay, ask, refuse }) {
  const open = (wanted) => {
    panel.hidden = !wanted;
    opener.setAttribute("aria-expanded", String(wanted));
    if (wanted) file.focus();
  };

  const take = (files) => {
    const image = [...files].find((candidate) => candidate.type.startsWith("image/"));
    if (!image) {
      if (files.length) refuse("This file is not an image. Use JPEG, PNG, WebP or GIF.");
      return;
    }
    open(false);
    ask({ upload: image, name: image.name || "pasted image" });
  };

  opener.addEventListener("click", () => open(panel.hidden));
  file.addEventListener("change", () => {
    take(file.files);
    file.value = "";
  });
  address.addEventListener("submit", (event) => {
    event.preventDefault();
    open(false);
    ask({ image_url: url.value.trim() });
    url.value = "";
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) {
      event.preventDefault();
      take(event.clipboardData.files);
    }
  });

  // Entering a child fires before leaving its parent, so enters and leaves are counted.
  let inside = 0;
  const holdsFiles = (event) => event.dataTransfer?.types.includes("Files");
  const cover = (change) => {
    inside = Math.max(0, inside + change);
    overlay.hidden = inside === 0;
  };
  document.addEventListener("dragenter", (event) => holdsFiles(event) && cover(1));
  document.addEventListener("dragleave", (event) => holdsFiles(event) && cover(-1));
  document.addEventListener("dragover", (event) => holdsFiles(event) && event.preventDefault());
  document.addEventListener("drop", (event) => {
    if (!holdsFiles(event)) return;
    event.preventDefault();
    cover(-inside);
    take(event.dataTransfer.files);
  });

  return { close: () => open(false), isOpen: () => !panel.hidden };
}
