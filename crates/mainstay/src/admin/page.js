// Shows the live part anew every two seconds while the page is looked at and nothing in it is
// selected. Without scripts there is the link.
(() => {
  const note = document.querySelector(".refresh");
  const live = document.querySelector("#live");
  let lost = false;
  const tell = (text) => { if (note.textContent !== text) note.textContent = text; };
  const busy = () => document.hidden || live.contains(getSelection().anchorNode)
    && !getSelection().isCollapsed || live.contains(document.activeElement);
  const refresh = async () => {
    if (busy()) return;
    try {
      const answer = await fetch("/", { headers: { accept: "text/html" }, signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error();
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      live.replaceChildren(...page.querySelector("#live").childNodes);
      document.title = page.title;
      lost = false;
      tell("Live");
    } catch {
      if (!lost) tell("No answer since " + new Date().toLocaleTimeString());
      lost = true;
    }
  };
  tell("Live");
  setInterval(refresh, 2000);
})();
