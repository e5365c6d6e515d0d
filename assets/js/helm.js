/* The helm: strength slider, exact number, and the response curve on the same axis. */
window.RudderHelm = (() => {
  const svg = "http://www.w3.org/2000/svg";

  const skeleton = (label) => `
    <div class="rd-helm-row">
      <span class="rd-helm-label">${label}</span><span class="rd-top"></span>
      <label class="rd-exact"><span class="rd-sr">Exact ${label.toLowerCase()}</span><input type="number" step="any"></label>
    </div>
    <div class="rd-track">
      <input type="range" aria-label="${label}">
      <div class="rd-ticks" aria-hidden="true"></div>
    </div>
    <div class="rd-curve" aria-hidden="true">
      <svg preserveAspectRatio="none" viewBox="0 0 100 100"></svg>
      <div class="rd-dots"></div><i class="rd-cursor"></i>
    </div>`;

  function build(root, label, { onMove, onRelease }) {
    root.innerHTML = skeleton(label);
    const range = root.querySelector("input[type=range]");
    const exact = root.querySelector("input[type=number]");
    const ticks = root.querySelector(".rd-ticks");
    const plot = root.querySelector("svg");
    const dots = root.querySelector(".rd-dots");
    const cursor = root.querySelector(".rd-cursor");
    const top = root.querySelector(".rd-top");
    let lo = 0, hi = 1, timer = null, marks = [];

    /* Within half a step of a frame's strength the slider means that strength, exactly. */
    function meant() {
      const value = Number(range.value);
      const close = marks.find((at) => Math.abs(at - value) <= Number(range.step) / 2 + 1e-9);
      return close ?? value;
    }

    const share = (value) => Math.min(1, Math.max(0, (value - lo) / (hi - lo || 1)));

    function mark(value) {
      range.style.setProperty("--from", Math.min(share(value), share(0)));
      range.style.setProperty("--to", Math.max(share(value), share(0)));
      cursor.style.left = `${100 * share(value)}%`;
      range.setAttribute("aria-valuetext", `strength ${Rudder.signed(value)}`);
    }

    range.addEventListener("input", () => {
      const value = meant();
      exact.value = value.toFixed(2);
      mark(value);
      onMove(value);
    });
    /* Keyboard steps fire `change` each time: wait until the key rests before asking the server. */
    range.addEventListener("change", () => {
      clearTimeout(timer);
      timer = setTimeout(() => onRelease(meant()), range.dataset.keys ? 350 : 0);
    });
    range.addEventListener("keydown", () => { range.dataset.keys = "1"; });
    range.addEventListener("pointerdown", () => { delete range.dataset.keys; clearTimeout(timer); });
    exact.addEventListener("change", () => {
      const typed = exact.value.trim();
      const value = typed === "" ? NaN : Number(typed);
      if (Number.isFinite(value)) { range.value = value; mark(value); onMove(value); }
      onRelease(typed === "" ? "nothing" : value);
    });

    return {
      range,
      setRange(low, high) {
        [lo, hi] = [low, high];
        range.min = lo;
        range.max = hi;
        /* Steps are counted from the low end: make 0 one of them, so that unsteered can be slid to. */
        const fine = (hi - lo) / 200;
        range.step = lo < 0 ? -lo / Math.max(1, Math.round(-lo / fine)) : fine;
      },
      set(value) {
        range.value = value;
        exact.value = Number(value).toFixed(2);
        mark(value);
      },
      /* curves = [{id, title, points: [[strength, moved], ...]}]: one polyline a column, one scale for both; `strip` are the
         strengths the slider snaps to, `named` those on the axis. */
      curve(curves, strip, named) {
        marks = strip;
        const highest = Math.max(8, ...curves.flatMap((one) => one.points.map((point) => point[1])));
        plot.replaceChildren();
        dots.replaceChildren();
        for (const one of curves) {
          const path = document.createElementNS(svg, "polyline");
          path.setAttribute("class", `is-${one.id}`);
          path.setAttribute("vector-effect", "non-scaling-stroke");
          path.setAttribute("points", one.points
            .map(([at, moved]) => `${100 * share(at)},${100 - (92 * moved) / highest}`).join(" "));
          plot.append(path);
          for (const [at, moved] of one.points) {
            const dot = document.createElement("i");
            dot.className = `is-${one.id}`;
            dot.style.left = `${100 * share(at)}%`;
            dot.style.bottom = `${(92 * moved) / highest}%`;
            dots.append(dot);
          }
        }
        top.textContent = `Below: how far each picture has moved, up to ${Math.round(highest)} of 255 grey levels`;
        ticks.replaceChildren(...named.map((at) => {
          const tick = document.createElement("span");
          tick.style.left = `${100 * share(at)}%`;
          tick.className = Math.abs(at) < 1e-9 ? "is-zero" : "";
          const digits = [0, 1, 2].find((count) => Math.abs(Number(at.toFixed(count)) - at) < 1e-6) ?? 2;
          tick.textContent = Math.abs(at) < 1e-9 ? "0" : Rudder.signed(at, digits);
          return tick;
        }));
      },
    };
  }

  return { build };
})();
