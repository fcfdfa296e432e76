// Asking with a picture: chosen, dropped anywhere, pasted, or by its address.

export function watchPictures({ panel, opener, file, address, url, overlay, ask, refuse }) {
  const open = (wanted) => {
    panel.hidden = !wanted;
    opener.setAttribute("aria-expanded", String(wanted));
    if (wanted) file.focus();
  };

  const take = (files) => {
    const picture = [...files].find((candidate) => candidate.type.startsWith("image/"));
    if (!picture) {
      if (files.length) refuse("That file is no picture. JPEG, PNG, WebP and GIF can be searched by.");
      return;
    }
    open(false);
    ask({ upload: picture, name: picture.name || "pasted picture" });
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

  // Entering a child fires before leaving its parent: only the balance says who is over the page.
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
