/* What a visitor takes away: a link that brings the state back, and a figure as SVG or PNG. */
window.LabFigure = (() => {
  const Maths = window.LabMaths, Data = window.LabData, Plots = window.LabPlots, Case = window.LabCase;
  const KEYS = ["n", "p", "sigma", "lam", "duplicates"];
  const BOUNDS = { n: [1, 1e5], p: [1, 200], sigma: [0, 2], lam: [0, 1000], duplicates: [1, 1000] };

  function link({ state, sides, set }) {
    const query = new URLSearchParams({ d: set.name });
    for (const [id, side] of Object.entries(sides)) query.set(id, KEYS.map((key) => side.shown.wanted[key]).join(","));
    const { kind, place, pixels } = state.picture;
    query.set("x", kind === "own" ? `own:${Data.packed(pixels)}` : `${kind}:${place}`);
    for (const [key, value] of [["c", state.concept], ["a", Number(state.strength.toFixed(3))], ["k", state.passes], ["s", state.seed]]) query.set(key, value);
    const live = Object.values(sides).filter((side) => side.shown.regime), whole = live.filter((side) => side.shown.whole);
    if (whole.length) query.set("t", whole.map((side) => `${side.id}:${side.shown.seed}`).join(","));
    history.replaceState(history.state, "", `#lab?${query}`);
    const text = whole.length < live.length ? "Link copied. Half-trained weights are not in it: whoever opens it sees the nearest snapshot and can train live."
      : live.length ? "Link copied. It holds seed and settings of what you trained, not the weights: opening it trains again, which takes as long."
        : "Link copied: it brings all of this back.";
    const told = (said) => window.Rudder.notify({ text: said, kind: "note" });
    (navigator.clipboard?.writeText(location.href) || Promise.reject(new Error("no clipboard")))
      .then(() => told(text), () => told("The link is in the address bar now: copy it from there."));
  }

  /* What the address asks for; a damaged part is said and left out. */
  function linked(told) {
    const found = { state: {}, sides: {}, seeds: {} };
    if (!location.hash.startsWith("#lab?")) return found;
    const query = new URLSearchParams(location.hash.slice(5));
    const wrong = [];
    const number = (key, name, low, high, whole) => {
      if (!query.has(key)) return;
      const value = query.get(key) === "" ? NaN : Number(query.get(key));
      if (value >= low && value <= high && (!whole || Number.isInteger(value))) found.state[name] = value; else wrong.push(name);
    };
    number("a", "strength", 0, 3);
    number("k", "passes", 1, 32, true);
    number("s", "seed", 0, 1e6, true);
    if (query.has("d")) { if (told.datasets[query.get("d")]) found.dataset = query.get("d"); else wrong.push("data set"); }
    const classes = told.datasets[found.dataset || Object.keys(told.datasets)[0]].classes;
    number("c", "concept", 0, classes.length - 1, true);
    for (const id of ["mem", "gen"]) {
      if (!query.has(id)) continue;
      const values = query.get(id).split(",").map(Number);
      if (values.length === 5 && KEYS.every((key, at) => values[at] >= BOUNDS[key][0] && values[at] <= BOUNDS[key][1])) {
        found.sides[id] = Object.fromEntries(KEYS.map((key, at) => [key, values[at]]));
      } else wrong.push("network");
    }
    for (const one of query.get("t")?.split(",") || []) {
      const [id, seed] = one.split(":");
      if (found.sides[id] && /^\d{1,10}$/.test(seed) && Number(seed) < 2 ** 32) found.seeds[id] = Number(seed); else wrong.push("training");
    }
    const [kind, rest] = (query.get("x") || "").split(":");
    try {
      if (kind === "own") found.picture = { kind, place: 0, pixels: Data.unpacked(rest), name: "The linked picture" };
      else if (kind && ["train", "test"].includes(kind) && Number.isInteger(Number(rest))) found.picture = { kind, place: Number(rest) };
      else if (kind) wrong.push("picture");
    } catch { wrong.push("picture"); }
    if (wrong.length) window.Rudder.notify({ text: `The link is damaged: its ${wrong.join(" and ")} cannot be read, so the usual one is shown.` });
    return found;
  }

  const STYLE = `text{font:11px "IBM Plex Sans","Helvetica Neue",Arial,sans-serif;fill:#14222b}.t{font-weight:700;font-size:13px}.s{fill:#4b616c}
    image{image-rendering:pixelated}.is-floor{stroke:#8ba0a9;stroke-width:.8}.is-cursor{stroke:#b3186d;stroke-width:1;opacity:.6}
    polyline{fill:none;stroke-width:1.8;stroke-linejoin:round}.is-push{fill:#b3186d}
    .mem .is-own{fill:#a85a00}.gen .is-own{fill:#0b6e8f}polyline.mem{stroke:#a85a00}polyline.gen{stroke:#0b6e8f}`;

  /* Enlarged by whole pixels, so that no program smooths it. */
  function image(pixels, x, y, size) {
    const small = document.createElement("canvas"), large = document.createElement("canvas");
    small.width = small.height = Plots.SIDE;
    large.width = large.height = 8 * Plots.SIDE;
    Plots.paint(small, pixels);
    const brush = large.getContext("2d");
    brush.imageSmoothingEnabled = false;
    brush.drawImage(small, 0, 0, large.width, large.height);
    return `<image x="${x}" y="${y}" width="${size}" height="${size}" href="${large.toDataURL()}"/>`;
  }

  const text = (x, y, words, kind = "", anchor = "start") => `<text x="${x}" y="${y}" class="${kind}" text-anchor="${anchor}">${words}</text>`;

  /* Both networks one above the other: columns, noisy, code, denoised, steered; below, the response of both. */
  function figure({ state, sides, set, length }) {
    const lift = (x) => x.map((value, at) => value + set.mean[at]);
    const concept = set.classes[state.concept];
    let drawn = "";
    Object.values(sides).forEach((side, place) => {
      const top = 8 + 158 * place, { net, entry, wanted } = side.shown, settings = entry || wanted;
      drawn += text(0, top + 10, `${side.word}: n = ${settings.n.toLocaleString("en")}, p = ${settings.p}, σ = ${settings.sigma}, λ = ${settings.lam}`
        + `${settings.duplicates > 1 ? `, copies = ${settings.duplicates}` : ""}`, "t");
      side.columns.slice(0, 5).forEach(([size, cosine], unit) => {
        drawn += image(side.panel.drawn(net, unit, set, length), 56 * unit, top + 22, 50)
          + text(56 * unit + 25, top + 84, `${size.toFixed(2)}`, "s", "middle") + text(56 * unit + 25, top + 97, `cos ${cosine.toFixed(2)}`, "s", "middle");
      });
      drawn += text(0, top + 114, "longest columns: length, cosine to training", "s");
      const put = (x, pixels, words) => image(pixels, x, top + 22, 92) + text(x + 46, top + 128, words, "s", "middle");
      drawn += put(296, lift(side.z), "noisy") + put(590, lift(Maths.decode(net, side.h)), "denoised")
        + put(692, lift(side.made), `steered, moved ${side.moved.toFixed(0)}`);
      drawn += `<svg x="398" y="${top + 22}" width="182" height="92" class="${side.id}" overflow="hidden">${
        Plots.bars(side.h, side.after, 182, 92, side.top)}</svg>`
        + text(489, top + 128, `representation, std ${Maths.std(side.h).toFixed(2)}`, "s", "middle");
    });
    drawn += `<g transform="translate(20 346)">${Plots.response(Object.values(sides).map((side) => ({ points: side.points, className: side.id })),
      state.strength, 500, 110)}${text(250, 142, `strength of “${concept}”, ${state.passes} passes; line: ${state.strength.toFixed(2)}, as above`, "s", "middle")}</g>`
      + text(0, 336, "Distance moved, grey levels", "t");
    Object.values(sides).forEach((side, place) => {
      drawn += `<line x1="534" x2="558" y1="${370 + 22 * place}" y2="${370 + 22 * place}" stroke="${side.id === "mem" ? "#a85a00" : "#0b6e8f"}" stroke-width="2.4"/>`
        + text(566, 374 + 22 * place, `${side.word}: ${Case.told(side.facts.answer)}`);
    });
    return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="-12 -6 812 508" width="812" height="508"><style>${STYLE}</style>`
      + `<rect x="-12" y="-6" width="812" height="508" fill="#fff"/>${drawn}</svg>`;
  }

  function download(blob, name) {
    const anchor = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
    anchor.click();
    setTimeout(() => URL.revokeObjectURL(anchor.href), 10_000);
  }

  async function save(kind, lab) {
    const drawn = figure(lab);
    if (kind === "svg") { download(new Blob([drawn], { type: "image/svg+xml" }), "rudder-lab.svg"); return; }
    const picture = new Image();
    picture.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(drawn)}`;
    await picture.decode().catch(() => { throw new Error("The figure could not be drawn here: take the SVG"); });
    const canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [812 * 3, 508 * 3];
    canvas.getContext("2d").drawImage(picture, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
    download(blob, "rudder-lab.png");
  }

  return { link, linked, save };
})();
