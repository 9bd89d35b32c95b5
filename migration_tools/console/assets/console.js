// Keeps open what a reader opened while the page refreshes itself, and says when it could not be refreshed.
(() => {
  const live = document.getElementById("live");
  const stale = document.getElementById("stale");
  const opened = new Map();
  let seen = new Date();
  const nameOf = (details) => details.querySelector("summary").id;

  live.addEventListener("toggle", (event) => opened.set(nameOf(event.target), event.target.open), true);

  document.body.addEventListener("htmx:afterSwap", () => {
    seen = new Date();
    stale.hidden = true;
    for (const details of live.querySelectorAll("details")) {
      if (opened.has(nameOf(details))) details.open = opened.get(nameOf(details));
    }
  });

  for (const failure of ["htmx:responseError", "htmx:sendError", "htmx:timeout"]) {
    document.body.addEventListener(failure, () => {
      const time = seen.toLocaleTimeString("en-GB");
      stale.textContent = `The monolith does not answer. What is below was seen at ${time}; it is asked for again every 3 s.`;
      stale.hidden = false;
    });
  }
})();
