/* The workbench's picture: before and after under one divider, and a mask painted over them.

   A mask is 64 x 64 and either in or out, as a recipe carries it; white is where the picture may change. */
window.RudderCanvas = (() => {
  const side = 64;

  const skeleton = `
    <figure class="rd-bench-picture">
      <img class="is-before" alt="" draggable="false"><img class="is-after" alt="" draggable="false">
      <canvas class="rd-mask" width="${side}" height="${side}" tabindex="-1" role="img" aria-label="The mask"></canvas>
      <i class="rd-divider" aria-hidden="true"></i>
      <span class="rd-side is-before" aria-hidden="true">before</span><span class="rd-side is-after" aria-hidden="true">after</span>
      <input type="range" class="rd-cut" min="0" max="100" step="0.5" value="50" aria-label="Before and after: where the two meet">
      <p class="rd-bench-empty"></p>
    </figure>`;

  function build(root, { onMask }) {
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const figure = find("figure"), cut = find(".rd-cut"), canvas = find(".rd-mask");
    const brush = canvas.getContext("2d", { willReadFrequently: true });
    let inside = new Uint8Array(side * side), size = 6, rub = false, last = null;
    let [x, y] = [side / 2, side / 2];

    const place = () => {
      figure.style.setProperty("--cut", `${cut.value}%`);
      cut.setAttribute("aria-valuetext", `${Math.round(cut.value)} % before`);
    };
    cut.addEventListener("input", place);
    place();

    function draw() {
      const data = brush.createImageData(side, side);
      for (let at = 0; at < inside.length; at += 1) {
        if (inside[at]) data.data.set([240, 60, 160, 150], 4 * at);
      }
      brush.putImageData(data, 0, 0);
      if (figure.classList.contains("is-masking") && canvas.matches(":focus-visible")) {
        brush.strokeStyle = "#fff";
        brush.strokeRect(x - size / 2, y - size / 2, size, size);
      }
    }

    function dab(atX, atY) {
      const reach = size / 2;
      for (let row = Math.max(0, Math.floor(atY - reach)); row <= Math.min(side - 1, atY + reach); row += 1) {
        for (let column = Math.max(0, Math.floor(atX - reach)); column <= Math.min(side - 1, atX + reach); column += 1) {
          if (Math.hypot(column + 0.5 - atX, row + 0.5 - atY) <= reach) inside[side * row + column] = rub ? 0 : 1;
        }
      }
    }

    function line(from, to) {
      const steps = Math.max(1, Math.ceil(Math.hypot(to[0] - from[0], to[1] - from[1])));
      for (let step = 0; step <= steps; step += 1) {
        dab(from[0] + ((to[0] - from[0]) * step) / steps, from[1] + ((to[1] - from[1]) * step) / steps);
      }
      draw();
    }

    const point = (event) => {
      const box = canvas.getBoundingClientRect();
      return [(side * (event.clientX - box.left)) / box.width, (side * (event.clientY - box.top)) / box.height];
    };
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      last = point(event);
      line(last, last);
    });
    canvas.addEventListener("pointermove", (event) => {
      if (!last) return;
      const now = point(event);
      line(last, now);
      last = now;
    });
    for (const kind of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(kind, () => { if (last) onMask(); last = null; });
    }
    /* By keyboard: arrows move the brush, Space paints. */
    canvas.addEventListener("keydown", (event) => {
      const way = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2] }[event.key];
      if (!way && event.key !== " ") return;
      event.preventDefault();
      if (way) [x, y] = [x + way[0], y + way[1]].map((value) => Math.min(side, Math.max(0, value)));
      else { dab(x, y); onMask(); }
      draw();
    });
    for (const kind of ["focus", "blur"]) canvas.addEventListener(kind, draw);

    /* What a recipe carries: a black and white PNG in base64; "" where nothing or everything is inside. */
    function mask() {
      const count = inside.reduce((sum, value) => sum + value, 0);
      if (!count || count === inside.length) return "";
      const copy = Object.assign(document.createElement("canvas"), { width: side, height: side });
      const paper = copy.getContext("2d");
      const data = paper.createImageData(side, side);
      for (let at = 0; at < inside.length; at += 1) data.data.set([1, 2, 3].map(() => 255 * inside[at]).concat(255), 4 * at);
      paper.putImageData(data, 0, 0);
      return copy.toDataURL("image/png").split(",")[1];
    }

    function setMask(text) {
      inside = new Uint8Array(side * side);
      draw();
      if (!text) return;
      const image = new Image();
      image.onload = () => {
        const copy = Object.assign(document.createElement("canvas"), { width: side, height: side });
        const paper = copy.getContext("2d");
        paper.drawImage(image, 0, 0, side, side);
        const data = paper.getImageData(0, 0, side, side).data;
        for (let at = 0; at < inside.length; at += 1) inside[at] = data[4 * at] >= 128 ? 1 : 0;
        draw();
      };
      image.src = `data:image/png;base64,${text}`;
    }

    return {
      figure,
      show(which, source, words) {
        const image = find(`img.is-${which}`);
        image.hidden = !source;
        if (source) image.src = source;
        image.alt = words;
        image.onload = () => image.classList.toggle("is-small", image.naturalWidth <= 160);
      },
      empty(text) { find(".rd-bench-empty").textContent = text; figure.classList.toggle("is-empty", Boolean(text)); },
      masking(on) {
        figure.classList.toggle("is-masking", on);
        canvas.tabIndex = on ? 0 : -1;
        cut.disabled = on;
        draw();
      },
      mask, setMask, draw,
      brush(wide, rubbing) { size = wide; rub = rubbing; },
      invert() { inside = inside.map((value) => 1 - value); draw(); onMask(); },
    };
  }

  return { build };
})();
