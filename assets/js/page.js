/* The page's one global: tickets (a newer request outdates an older one), notices, light and dark. */
window.Rudder = (() => {
  const themeKey = "rudder-theme";
  const NO_PICTURE = /\.(safetensors|zip|rar|7z|tar|gz)$/i;
  let stage = null;

  function theme(name) {
    document.body.classList.toggle("dark", name === "dark");
    document.documentElement.style.colorScheme = name;
    const button = document.querySelector(".rd-theme");
    if (button) button.setAttribute("aria-pressed", String(name === "dark"));
  }

  function kept() {
    try { return localStorage.getItem(themeKey); } catch { return null; }
  }

  function startTheme(button) {
    const asked = new URLSearchParams(location.search).get("__theme");
    const system = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
    theme(asked || kept() || system);
    button.addEventListener("click", () => {
      const next = document.body.classList.contains("dark") ? "light" : "dark";
      try { localStorage.setItem(themeKey, next); } catch { /* storage is blocked: the choice lasts this visit */ }
      theme(next);
    });
  }

  /* Notices: errors stay until dismissed or until an action that began after them succeeds; notes fade by themselves. */
  function notify(message) {
    const box = document.querySelector(".rd-notice");
    if (!box || !message) return;
    if (!message.text) { settle(message.took); return; }
    clearTimeout(box.timer);
    box.since = performance.now();
    box.className = `rd-notice is-shown is-${message.kind || "error"}`;
    box.querySelector("p").textContent = message.text;
    if (message.kind === "note") box.timer = setTimeout(quiet, 9000);
  }

  /* An action that took so many seconds has succeeded: an error that was there when it began goes. */
  function settle(took = 0) {
    const box = document.querySelector(".rd-notice.is-shown.is-error");
    if (box && box.since <= performance.now() - 1000 * took) quiet();
  }

  /* Choosing always succeeds. */
  document.addEventListener("change", (event) => {
    if (event.target.matches?.(".rd-pick input, .rd-lab-pick input, .rd-lab select, .rd-lab [type=range], .rd-lab .rd-helm-row input")) settle();
  }, true);

  document.addEventListener("click", (event) => { if (event.target.closest?.(".rd-lab-tools button, .rd-lab-undo")) settle(); }, true);

  function quiet() {
    const box = document.querySelector(".rd-notice");
    if (!box) return;
    box.classList.remove("is-shown");
    box.querySelector("p").textContent = "";
  }

  /* The panel differs from what the pictures show: say so on the Generate button. */
  function due(is) {
    const actions = document.querySelector(".rd-actions");
    if (actions) actions.classList.toggle("is-due", is);
  }

  function watchPanel(panel) {
    for (const kind of ["input", "change"]) {
      panel.addEventListener(kind, (event) => {
        if (event.target.closest("[data-rd-immediate]")) return;
        due(true);
      });
    }
  }

  /* Enter in a prompt generates, as the button does. */
  function watchEnter(panel) {
    panel.addEventListener("keydown", (event) => {
      const inPrompt = event.target.matches("#rd-prompt-a textarea, #rd-prompt-b textarea");
      if (event.key !== "Enter" || event.shiftKey || event.isComposing || !inPrompt) return;
      event.preventDefault();
      setTimeout(generate, 60);
    });
  }

  /* A dropped picture goes through the same upload button as a chosen one; the innermost target takes it. Several files,
     vectors and archives are left to drop.js, which knows where they go. */
  function watchDrops(target, button) {
    const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    target.addEventListener("dragover", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      event.stopPropagation();
      target.classList.add("is-drop");
    });
    target.addEventListener("dragleave", (event) => {
      if (!target.contains(event.relatedTarget)) target.classList.remove("is-drop");
    });
    target.addEventListener("drop", (event) => {
      target.classList.remove("is-drop");
      const files = [...event.dataTransfer.files];
      if (files.length !== 1 || NO_PICTURE.test(files[0].name)) return;
      event.preventDefault();
      event.stopPropagation();
      choose(button, files);
    });
  }

  /* Give files to an upload as if they had been chosen: those it takes of them; false where it is not there. */
  function choose(button, files, inside = "") {
    const input = inside ? document.querySelector(`${inside} input[type=file]`)
      : document.querySelector(button)?.previousElementSibling; // an upload button's own, before it
    if (!input?.matches("input[type=file]") || !files.length) return false;
    const carrier = new DataTransfer();
    for (const file of inside ? files : [files[0]]) carrier.items.add(file);
    input.files = carrier.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
    return true;
  }

  /* An unlocked seed is rolled first; the short wait lets Gradio take in the new value. */
  function generate() {
    const lock = document.querySelector("#rd-lock input");
    if (lock && !lock.checked) document.querySelector("#rd-dice")?.click();
    setTimeout(() => stage?.generate(), lock && !lock.checked ? 120 : 0);
  }

  function restored(message) {
    if (message && message.again) setTimeout(() => stage?.generate(message), 150);
  }

  /* For whoever keeps what the page shows: strengths by column, set by hand or come with pictures; a Generate begun. */
  function steered(strengths, byHand) { tell("rudder-steered", { strengths, byHand }); }
  function generated() { tell("rudder-generated"); }
  function ungenerated() { tell("rudder-ungenerated"); }
  function tell(name, detail) { document.dispatchEvent(new CustomEvent(name, { detail })); }

  function compare(on) {
    document.querySelector("#rd-box-b")?.classList.toggle("is-off", !on);
    due(true);
  }

  function signed(value, digits = 2) {
    const rounded = Number(value).toFixed(digits);
    if (Number(rounded) === 0) return (0).toFixed(digits);
    return rounded.startsWith("-") ? `\u2212${rounded.slice(1)}` : `+${rounded}`;
  }

  return {
    startTheme, notify, settle, quiet, due, watchPanel, watchEnter, watchDrops, choose, signed, generate, restored, compare, steered, generated, ungenerated,
    steer(strengths) { stage?.steer(strengths); },
    attach(newStage) { stage = newStage; },
    stop() { stage?.stop(); },
    lost() { stage?.lost(); },
  };
})();
