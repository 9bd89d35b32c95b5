"use strict";
/* Whoever answers /api/orders/, this page only knows the address: cookies and CSRF header go along. */
async function shopApi(method, path, body) {
  const cookie = document.cookie.split("; ").find((part) => part.startsWith("csrftoken="));
  const headers = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRFToken"] = cookie ? cookie.slice("csrftoken=".length) : "";
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const response = await fetch(path, {
    method, headers, credentials: "same-origin", body: body === undefined ? undefined : JSON.stringify(body),
  });
  const answer = response.status === 204 ? null : await response.json();
  if (!response.ok) {
    const errors = answer.errors ? " " + JSON.stringify(answer.errors) : "";
    throw new Error((answer.detail || answer.title) + errors);
  }
  return answer;
}
function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}
