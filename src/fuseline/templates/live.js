// Looks for news every five seconds and puts it in place: scroll position, open parts and focus stay as they are.
(() => {
  "use strict";
  const EVERY = 5000, PATIENCE = 20000, PARTS = [".top", "main", "footer"];
  const banner = document.getElementById("unreachable"), style = document.querySelector("style").textContent;
  const shown = new Map(PARTS.map(part => [part, document.querySelector(part).innerHTML]));
  let seen = new Date(), since = null, looking = false;

  const said = at => `${at.toUTCString().slice(5, 22)} UTC`;

  function tell(title) {
    banner.hidden = since === null;
    if (since === null) return;
    banner.textContent = `This page cannot be reached since ${said(since)}; what you see is from ${said(seen)}.`;
    document.title = `? ${title}`;
  }

  function selecting() {
    const chosen = document.getSelection();
    return !chosen.isCollapsed && document.querySelector("main").contains(chosen.anchorNode);
  }

  // What a reader did to the page: which parts are open, what has the focus, how far each table was moved.
  function keep() {
    const focus = document.activeElement, at = [scrollX, scrollY];
    const toggled = [...document.querySelectorAll("details[id]")].map(part => [part.id, part.open]);
    const moved = [...document.querySelectorAll(".scroll")].map(part => part.scrollLeft);
    return () => {
      for (const [id, open] of toggled) document.getElementById(id)?.toggleAttribute("open", open);
      document.querySelectorAll(".scroll").forEach((part, i) => { part.scrollLeft = moved[i] ?? 0; });
      if (focus && !focus.isConnected) {
        const same = focus.tagName === "SUMMARY"
          ? document.querySelector(`#${CSS.escape(focus.parentElement.id)} > summary`)
          : [...document.links].find(link => link.getAttribute("href") === focus.getAttribute("href"));
        same?.focus({ preventScroll: true });
      }
      scrollTo(...at);
    };
  }

  function show(page) {
    const changed = PARTS.filter(part => page.querySelector(part).innerHTML !== shown.get(part));
    document.title = page.title;
    document.querySelector("link[rel=icon]").href = page.querySelector("link[rel=icon]").getAttribute("href");
    if (!changed.length || selecting()) return;
    const restore = keep();
    for (const part of changed) {
      const fresh = page.querySelector(part);
      shown.set(part, fresh.innerHTML);
      document.querySelector(part).replaceChildren(...fresh.childNodes);
    }
    restore();
  }

  async function look() {
    if (looking || document.hidden) return;
    looking = true;
    const title = document.title.replace(/^\? /, "");
    try {
      const reply = await fetch(location.href, { cache: "no-cache", signal: AbortSignal.timeout(PATIENCE) });
      const page = new DOMParser().parseFromString(await reply.text(), "text/html");
      if (!page.documentElement.hasAttribute("data-live")) throw new Error("another server answered");
      if (page.querySelector("style").textContent !== style) return location.reload();
      seen = new Date();
      since = null;
      show(page);
    } catch {
      since ??= new Date();
    } finally {
      looking = false;
    }
    tell(title);
  }

  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
})();
