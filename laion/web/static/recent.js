// The last searches, kept on this device only: [{address, words}], the latest first.

import { recall, remember } from "/static/storage.js";

const KEY = "recent";
const MOST = 12;

export function recentSearches() {
  try {
    const found = JSON.parse(recall(KEY) ?? "[]");
    return found.filter((each) => typeof each.words === "string" && /^\/\?/.test(each.address)).slice(0, MOST);
  } catch {
    return [];
  }
}

export function addRecent(address, words) {
  const others = recentSearches().filter((each) => each.address !== address);
  remember(KEY, JSON.stringify([{ address, words }, ...others].slice(0, MOST)));
}

export function clearRecent() {
  remember(KEY, null);
}
