/* The Audit tab's report: shown in a shadow tree, so that neither its style nor Gradio's reaches the other. The server
   has escaped whatever a list brought; here scripts and handlers are taken out once more, whatever they came from. */
window.RudderAudit = (() => {
  function plain(markup) {
    const parsed = new DOMParser().parseFromString(markup, "text/html");  // parsed there, nothing runs or loads
    for (const node of parsed.querySelectorAll("script, iframe, object, embed, link, meta, base, form")) node.remove();
    for (const node of parsed.querySelectorAll("*")) {
      for (const { name, value } of [...node.attributes]) {
        const leads = ["src", "href", "xlink:href"].includes(name) && !value.startsWith("data:image/");
        if (name.startsWith("on") || leads) node.removeAttribute(name);
      }
    }
    return [...parsed.body.childNodes];
  }

  function mount({ element, props, trigger, watch }) {
    const host = element.querySelector(".rd-scan");
    const tree = host.attachShadow({ mode: "open" });
    const style = document.createElement("style");
    style.textContent = props.look;
    const show = () => {
      const { text = "", report = "", example = false } = props.value || {};
      const label = element.querySelector(".rd-scan-label");
      label.textContent = text;
      label.classList.toggle("is-example", example);
      tree.replaceChildren(style, ...plain(report));
      host.hidden = !report;
    };
    watch("value", () => { Rudder.quiet(); show(); });
    show();

    tree.addEventListener("click", (event) => {
      const { prompt, seed } = event.target.closest("button[data-prompt]")?.dataset || {};
      if (prompt === undefined) return;
      Rudder.quiet();
      [...document.querySelectorAll("#rd-tabs [role=tab]")].find((tab) => tab.textContent.trim() === "Steer")?.click();
      scrollTo({ top: 0 });
      trigger("steer", { prompt, seed });
    });
  }

  return { mount };
})();
