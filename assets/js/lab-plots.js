/* Pictures and plots of the lab: canvases on the page, SVG text for page and figure alike. */
window.LabPlots = (() => {
  const SIDE = 32;

  /* Pixels in [-1, 1] into a 32x32 canvas; CSS enlarges it unsmoothed. */
  function paint(canvas, pixels) {
    const brush = canvas.getContext("2d");
    const image = brush.createImageData(SIDE, SIDE);
    for (let at = 0; at < pixels.length; at += 1) {
      image.data.fill(Math.round((Math.min(1, Math.max(-1, pixels[at])) + 1) * 127.5), 4 * at, 4 * at + 3);
      image.data[4 * at + 3] = 255;
    }
    brush.putImageData(image, 0, 0);
  }

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function canvas(label) {
    const node = make("canvas", "rd-lab-picture");
    node.width = node.height = SIDE;
    node.setAttribute("role", "img");
    node.setAttribute("aria-label", label);
    return node;
  }

  const fix = (value) => Number(value.toFixed(2));

  /* Units side by side, the largest column first; slim bars in front are the code after the edit. */
  function bars(h, after, width, height, top) {
    const edge = 5, wide = (width - 2 * edge) / h.length;
    const bar = (kind, value, unit, share) => {
      const tall = ((height - 2) * value) / top;
      return tall < 0.05 ? "" : `<rect class="${kind}" x="${fix(edge + (unit + 0.5 - share / 2) * wide)}" width="${fix(share * wide)}" y="${
        fix(height - tall)}" height="${fix(tall)}"/>`;
    };
    const drawn = Array.from(h, (value, unit) => bar("is-own", value, unit, 0.84) + (after ? bar("is-push", after[unit], unit, 0.3) : ""));
    return `${drawn.join("")}<line class="is-floor" x1="0" x2="${width}" y1="${height}" y2="${height}"/>`;
  }

  /* A falling line: loss on a logarithmic axis, or singular values. */
  function line(values, width, height, { log = false, top, bottom } = {}) {
    const scaled = log ? values.map((value) => Math.log10(Math.max(1e-9, value))) : values;
    const high = top ?? Math.max(...scaled), low = bottom ?? Math.min(...scaled);
    const points = scaled.map((value, place) => `${fix((width * place) / Math.max(1, scaled.length - 1))},${
      fix(height - 1 - ((height - 3) * (value - low)) / (high - low || 1))}`);
    return `<polyline points="${points.join(" ")}"/>`;
  }

  function stems(values, width, height, top) {
    const wide = width / Math.max(12, values.length);
    return values.map((value, place) => `<rect class="is-own" x="${fix(place * wide + wide * 0.12)}" width="${fix(wide * 0.76)}" y="${
      fix(height - ((height - 2) * value) / top)}" height="${fix(Math.max(0.3, ((height - 2) * value) / top))}"/>`).join("")
      + `<line class="is-floor" x1="0" x2="${width}" y1="${height}" y2="${height}"/>`;
  }

  /* Response curves on shared axes, for the figure: [{points, className}]. */
  function response(curves, at, width, height) {
    const last = Math.max(...curves.flatMap((one) => one.points.map((point) => point[0])));
    const top = Math.max(8, ...curves.flatMap((one) => one.points.map((point) => point[1])));
    const drawn = curves.map((one) => `<polyline class="${one.className}" points="${one.points.map(([a, far]) =>
      `${fix((width * a) / last)},${fix(height - ((height - 4) * far) / top)}`).join(" ")}"/>`).join("");
    const ticks = [0, 1, 2, 3].filter((tick) => tick <= last).map((tick) => `<text x="${fix((width * tick) / last)}" y="${
      height + 14}" text-anchor="middle">${tick}</text>`).join("");
    return `<line class="is-floor" x1="0" x2="${width}" y1="${height}" y2="${height}"/>`
      + `<line class="is-cursor" x1="${fix((width * at) / last)}" x2="${fix((width * at) / last)}" y1="0" y2="${height}"/>`
      + `${drawn}${ticks}<text x="0" y="9">${Math.round(top)}</text>`;
  }

  return { SIDE, paint, make, canvas, bars, line, stems, response };
})();
