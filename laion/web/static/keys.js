// Keys of the whole page: / goes to the search box, Escape closes, the down arrow goes to the results.

export function watchKeys({ text, results, imageQueries, opener }) {
  document.addEventListener("keydown", (event) => {
    if (document.querySelector("dialog[open]")) return; // it has keys of its own
    const typing = event.target.matches("input:not([type=checkbox]):not([type=radio]), select, textarea");
    // Also in an empty box: it has the focus at first, and shows the key as a hint.
    const free = !typing || (event.target === text && !text.value);
    if (event.key === "/" && free && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      text.focus();
      text.select();
    } else if (event.key === "Escape") {
      if (imageQueries.isOpen()) {
        imageQueries.close();
        opener.focus();
      } else if (event.target === text) {
        text.blur();
      }
    } else if (event.key === "ArrowDown" && event.target === text) {
      const first = results.querySelector(".card > a");
      if (first) {
        event.preventDefault();
        first.focus();
      }
    }
  });
}
