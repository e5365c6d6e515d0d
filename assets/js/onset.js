/* How often must a picture repeat before it is held by heart? Three curves over repetitions, measured on the model. */
window.RudderOnset = (() => {
  const svg = "http://www.w3.org/2000/svg";
  const wide = 620, high = 230, left = 44, right = 14, top = 12, bottom = 44;
  const NAMES = { recall: "given back from its caption", spikiness: "spiky", movement: "resists edits" };

  function shape(root, kind, attributes, text) {
    const node = document.createElementNS(svg, kind);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    if (text !== undefined) node.textContent = text;
    root.append(node);
    return node;
  }

  /* 0 as an ordinary picture, 1 as the most repeated ones; recall is a share as it is. */
  function curves(told) {
    const rows = told.curves.filter((row) => row.repeats).sort((a, b) => a.repeats - b.repeats);
    const last = rows[rows.length - 1];
    return Object.keys(NAMES).map((key) => ({
      key,
      points: rows.map((row) => {
        const whole = key === "recall" ? 1 : last[key] - told.ordinary[key];
        const start = key === "recall" ? 0 : told.ordinary[key];
        return [row.repeats, whole ? (row[key] - start) / whole : 0];
      }),
    }));
  }

  function sentence(told) {
    const at = told.onset;
    const number = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en"));
    const parts = Object.entries({ recall: "half of the captions give back their picture from", spikiness:
      "half of the spikiness is there from", movement: "half of the resistance from" })
      .filter(([key]) => at[key]).map(([key, words]) => `${words} ${number(at[key])} repetitions on`);
    const text = parts.join("; ");
    return text ? `${text[0].toUpperCase()}${text.slice(1)}.` : "";
  }

  function draw(root, told) {
    const lines = curves(told);
    const repeats = lines[0].points.map(([n]) => n);
    const low = Math.log(repeats[0]), span = Math.log(repeats[repeats.length - 1]) - low || 1;
    const x = (n) => left + ((Math.log(n) - low) / span) * (wide - left - right);
    const least = Math.min(0, ...lines.flatMap(({ points }) => points.map(([, y]) => y)));
    const most = Math.max(1, ...lines.flatMap(({ points }) => points.map(([, y]) => y)));
    const y = (value) => top + ((most - value) / (most - least)) * (high - top - bottom);
    for (const value of [0, 0.5, 1]) {
      shape(root, "line", { class: "is-grid", x1: left, x2: wide - right, y1: y(value), y2: y(value) });
      shape(root, "text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, String(value));
    }
    for (const n of repeats) {
      shape(root, "line", { class: "is-grid", x1: x(n), x2: x(n), y1: high - bottom, y2: high - bottom + 5 });
      shape(root, "text", { x: x(n), y: high - bottom + 19, "text-anchor": "middle" }, n.toLocaleString("en"));
    }
    shape(root, "text", { x: (left + wide - right) / 2, y: high - 6, "text-anchor": "middle" },
      "times the picture was shown in training");
    for (const { key, points } of lines) {
      shape(root, "polyline", { class: `is-${key}`, points: points.map(([n, value]) => `${x(n)},${y(value)}`).join(" ") });
      for (const [n, value] of points) {
        const dot = shape(root, "circle", { class: `is-${key}`, cx: x(n), cy: y(value), r: 3.4 });
        shape(dot, "title", {}, `${NAMES[key]}, ${n} times: ${value.toFixed(2)}`);
      }
    }
    root.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    root.setAttribute("aria-label", `Recall, spikiness and resistance against repetitions. ${sentence(told)}`);
  }

  function mount({ element, props }) {
    const told = props.value;
    if (!told?.curves?.some((row) => row.repeats)) { element.closest("#rd-onset").hidden = true; return; }
    draw(element.querySelector("svg"), told);
    element.querySelector(".rd-onset-said").textContent = sentence(told);
    element.querySelector(".rd-onset-keys").replaceChildren(...Object.entries(NAMES).map(([key, name]) => {
      const item = document.createElement("span");
      item.className = `is-${key}`;
      item.textContent = name;
      return item;
    }));
  }

  return { mount };
})();
