/* Three quiet hints of a first visit: each leaves for good once the thing is done, or when it is dismissed. */
window.RudderTips = (() => {
  const KEY = "rudder-tips";
  const every = 300, patience = 1000;  // milliseconds: between two looks for the page; tries
  const narrow = matchMedia("(max-width: 820px)");
  /* Where a hint stands, on a wide and on a narrow page, and what being done means. */
  const TIPS = [
    { name: "drag", text: "Drag this and watch the pictures.", wide: [".rd-bridge .rd-helm-row .rd-exact", "beforebegin"],
      narrow: [".rd-lede", "beforeend"], done: ["input", ".rd-stage [data-helm] input"] },
    { name: "compare", text: "Compare left and right: which one changes?", wide: [".rd-lede", "beforeend"],
      narrow: [".rd-lede", "beforeend"], done: ["click", ".rd-frame, .rd-download, .rd-reading *"], two: true },
    { name: "choose", text: "Choose a concept to add to the pictures.", wide: ["#rd-concept", "beforebegin"],
      narrow: ["#rd-concept", "beforebegin"], done: ["change", "#rd-concept input"] },
  ];
  const gone = new Set(kept());

  function kept() {
    try { return (localStorage.getItem(KEY) || "").split(","); } catch { return []; }
  }

  function leave(name) {
    gone.add(name);
    document.querySelector(`[data-tip=${name}]`)?.remove();
    try { localStorage.setItem(KEY, [...gone].filter(Boolean).join(",")); } catch { /* storage is blocked: gone for this visit */ }
  }

  function place(tip) {
    const [selector, where] = narrow.matches ? tip.narrow : tip.wide;
    document.querySelector(`[data-tip=${tip.name}]`)?.remove();
    const node = document.createElement("div");
    node.className = "rd-tip";
    node.dataset.tip = tip.name;
    const words = document.createElement("span"), button = document.createElement("button");
    words.setAttribute("role", "status");  // filled after it is there, so that it is read out politely
    button.type = "button";
    button.textContent = "×";
    button.setAttribute("aria-label", `Dismiss the hint: ${tip.text}`);
    button.addEventListener("click", () => leave(tip.name));
    node.append(words, button);
    document.querySelector(`#rd-steer ${selector}, #rd-room ${selector}`)?.insertAdjacentElement(where, node);
    setTimeout(() => { words.textContent = tip.text; });
  }

  function start() {
    for (const tip of TIPS) {
      if (gone.has(tip.name) || (tip.two && document.querySelector(".rd-stage.is-single"))) continue;
      place(tip);
      document.addEventListener(tip.done[0], (event) => { if (event.isTrusted && event.target.closest?.(tip.done[1])) leave(tip.name); }, true);
    }
    narrow.addEventListener("change", () => { for (const { name } of TIPS.filter((tip) => !gone.has(tip.name))) {
      if (document.querySelector(`[data-tip=${name}]`)) place(TIPS.find((tip) => tip.name === name));
    } });
  }

  let tries = 0;
  const timer = setInterval(() => {
    const there = document.querySelector(".rd-stage[data-ready=yes]") && document.querySelector("#rd-panel #rd-concept .rd-concepts");
    if (there) start();
    if (there || (tries += 1) > patience) clearInterval(timer);
  }, every);
  return { leave };
})();
