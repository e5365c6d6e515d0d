/* A picture shown as large as the window allows: Esc, a click anywhere or the button closes it. */
window.RudderLarge = (() => {
  let dialog = null;

  function build() {
    dialog = document.createElement("dialog");
    dialog.className = "rd-large";
    dialog.innerHTML = `<figure><canvas role="img"></canvas><figcaption></figcaption></figure>
      <button type="button">Close</button>`;
    dialog.addEventListener("click", () => dialog.close());
    document.querySelector(".gradio-container").append(dialog);
  }

  function open(canvas, caption) {
    if (!dialog) build();
    const copy = dialog.querySelector("canvas");
    [copy.width, copy.height] = [canvas.width, canvas.height];
    copy.getContext("2d").drawImage(canvas, 0, 0);
    copy.setAttribute("aria-label", canvas.getAttribute("aria-label"));
    dialog.setAttribute("aria-label", caption);
    dialog.querySelector("figcaption").textContent = caption;
    dialog.showModal();
  }

  return { open };
})();
