// Errors of the API in plain words.

// `message` is for everybody; `detail` is what the server says, for those who look into it.
export class SearchError extends Error {
  constructor(message, detail = "") {
    super(message);
    this.detail = detail;
  }
}

const NO_ANSWER = "The host of this image does not answer. Try again, or save the image and upload it.";
const DAMAGED = "This file cannot be read as an image. Use JPEG, PNG, WebP or GIF.";
const TOO_LARGE = "This image is too large. Use a smaller one.";
const HEAVY = "This image takes too long to read. Save it in another format, and use that.";

const REASONS = {
  bad_url: "This is not an address of an image.",
  unsupported_scheme: "Use an address that begins with http:// or https://.",
  blocked_address: "This address is on a private network. Save the image, and upload it.",
  dns_not_found: "There is no such host. Check the address.",
  dns_timeout: NO_ANSWER, dns_failure: NO_ANSWER, connect_refused: NO_ANSWER, connect_timeout: NO_ANSWER,
  connect_reset: NO_ANSWER, network_unreachable: NO_ANSWER, closed_before_reply: NO_ANSWER,
  protocol_error: NO_ANSWER, header_too_large: NO_ANSWER, too_many_redirects: NO_ANSWER, stalled: NO_ANSWER,
  too_slow: NO_ANSWER, max_time: NO_ANSWER, incomplete_body: NO_ANSWER, bad_encoding: NO_ANSWER,
  tls_error: "The host of this image has no valid certificate.",
  too_large: TOO_LARGE, image_bomb: TOO_LARGE, image_area_too_large: TOO_LARGE,
  not_an_image: DAMAGED, unwanted_format: DAMAGED, truncated_image: DAMAGED, decode_error: DAMAGED,
  decoder_crash: DAMAGED, decode_timeout: HEAVY,
};

const STATUSES = {
  404: "There is no such image in this index.",
  408: "The upload took too long. Try again, or use a smaller image.",
  413: TOO_LARGE,
  500: "The server has a fault. Its log says more.",
};

export function explain(status, body, retryAfter) {
  const detail = typeof body.error === "string" ? body.error : `status ${status}`;
  const reason = String(body.reason ?? "");
  const http = /^http_(\d+)$/.exec(reason);
  if (http && ["404", "410"].includes(http[1])) return new SearchError("There is no image at this address.", detail);
  if (http) return new SearchError("The host refuses to send this image. Save it, and upload it.", detail);
  if (REASONS[reason]) return new SearchError(REASONS[reason], detail);
  const wait = Number.parseInt(retryAfter, 10) || 1;
  const soon = `Try again in ${wait} ${wait === 1 ? "second" : "seconds"}.`;
  if (status === 429) return new SearchError(`You have searched too often. ${soon}`, detail);
  if (status === 503) return new SearchError(`The server is busy. ${soon}`, detail);
  if (STATUSES[status]) return new SearchError(STATUSES[status], detail);
  return new SearchError("The server does not understand this search.", detail);
}
