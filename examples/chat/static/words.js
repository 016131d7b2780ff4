// What the page says about the connection, by the client's reasons.

const WAITING = {
  service_restart: "The server is restarting.",
  heartbeat_timeout: "The server fell silent.",
  policy_violation: "That was a little too much. The server asked for a break.",
  try_again_later: "This tab could not keep up.",
  internal_error: "The server had a problem.",
  unauthorized: "Your access is being renewed.",
  connect_timeout: "The server does not answer.",
  token_failed: "The server cannot be reached.",
};

const CLOSED = {
  normal: "The server ended the connection.",
  message_too_big: "A message was too big.",
  too_many_connections: "You opened the chat in too many tabs, so this one, the oldest, was closed.",
};

export const whyWaiting = ({ reason }) => WAITING[reason] ?? "The connection was lost.";

export function whyClosed({ reason, message }) {
  const said = CLOSED[reason] ?? message ?? "The connection ended";
  const sentence = said.charAt(0).toUpperCase() + said.slice(1);
  return /[.!?]$/.test(sentence) ? sentence : `${sentence}.`;
}

// A failed request's code, for what is not the server's own text.
const FAILED = {
  timeout: "The server took too long.",
  disconnected: "The connection broke before the server had answered.",
  closed: "There is no connection.",
  queue_full: "Too much is waiting for the connection.",
};

export function whyFailed({ code, message }) {
  const said = FAILED[code] ?? message;
  return said.charAt(0).toUpperCase() + said.slice(1);
}
