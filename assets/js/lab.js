/* The lab: two networks, one picture, one edit. Everything but Train live happens here, in the browser. */
window.RudderLab = (() => {
  const Maths = window.LabMaths, Case = window.LabCase, Data = window.LabData, Plots = window.LabPlots, Words = window.LabWords;
  const SIDES = ["mem", "gen"];
  const TAB = "Why memories resist";
  const FURTHEST = 3, GRID = Array.from({ length: 31 }, (_, place) => place / 10);
  const START = { passes: 20, seed: 1, strength: 1.5 };
  const SHOWN = { fashion: { place: 3, concept: 4 } };  // trouser towards coat: both answers fit the slider
  const TICKS = [0, 0.5, 1, 1.5, 2, 2.5, 3];
  let mounted = null, waiting = null;

  const skeleton = `
    <header class="rd-lab-head">
      <div class="rd-lede"><h2>Why do memorised pictures resist?</h2><p></p></div>
      <div class="rd-lab-actions">
        <button type="button" data-do="link">Copy link</button><button type="button" data-do="svg">SVG</button>
        <button type="button" data-do="png">PNG</button><button type="button" data-do="reset">Start over</button>
      </div>
    </header>
    <div class="rd-lab-room">
      <aside class="rd-lab-rail" aria-label="The picture and the edit"></aside>
      <div class="rd-lab-bench">
        <section class="rd-lab-steer" aria-label="Steering">
          <figure class="is-mem"></figure>
          <div class="rd-lab-middle"><div class="rd-helm"></div>
            <div class="rd-lab-answer" aria-live="polite"><h3>One moment: the cases are being worked out</h3><p class="is-mem"></p><p class="is-gen"></p></div>
          </div>
          <figure class="is-gen"></figure>
        </section>
        <div class="rd-lab-sides"><article class="rd-lab-side is-mem" data-side="mem"></article>
          <article class="rd-lab-side is-gen" data-side="gen"></article></div>
        <div class="rd-lab-folds is-steering">${Words.steering}${Words.numbers}</div>
      </div>
    </div>`;
  function mount({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-lab");
    root.innerHTML = skeleton;
    root.inert = true; // until there is something to act on
    const find = (selector) => root.querySelector(selector);
    const state = { strength: START.strength, passes: START.passes, seed: START.seed, concept: -1, picture: null };
    const sides = {}, lab = { told: null, set: null, length: 1, state, sides };
    let drawing = 0;

    for (const id of SIDES) {
      const figure = find(`.rd-lab-steer > .is-${id}`);
      figure.innerHTML = `<div class="rd-lab-tag"><span class="rd-tag"></span><b></b></div><div class="rd-lab-large"></div>
        <figcaption><span class="rd-lab-zero"></span><span class="rd-lab-moved"></span></figcaption>`;
      const steered = Plots.canvas("steered picture"), zero = Plots.canvas("picture at strength 0");
      steered.dataset.lab = `${id}-steered`;
      figure.querySelector(".rd-lab-large").append(steered);
      figure.querySelector(".rd-lab-zero").append(zero, Plots.make("span", "", "at 0"));
      const side = { id, figure, steered, zero, past: [], losses: [], training: false };
      side.panel = window.LabPanel.mount(find(`[data-side=${id}]`), id, {
        knob: (key, value) => govern.turned(side, key, value), useful: (about) => govern.useful(side, about), train: () => govern.train(side), stop: () => govern.stop(side),
        undo: () => govern.undo(side),
      });
      sides[id] = side;
    }
    const all = () => SIDES.map((id) => sides[id]);
    const helm = window.RudderHelm.build(find(".rd-helm"), "Strength of the edit", {
      onMove: slide,
      onRelease: (value) => {
        if (!(value >= 0 && value <= FURTHEST)) window.Rudder.notify({ text: `The strength goes from 0 to ${FURTHEST}: type a number between them.` });
        helm.set(state.strength);
      },
    });
    helm.setRange(0, FURTHEST);
    helm.range.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      const next = GRID[(way > 0 ? GRID.findIndex((a) => a > state.strength + 1e-6) : GRID.findLastIndex((a) => a < state.strength - 1e-6))];
      if (next !== undefined) { helm.set(next); slide(next); }
    });
    const picker = window.LabPicker.mount(find(".rd-lab-rail"), {
      current: () => state.picture,
      pick: (kind, place) => { choose(kind, place); renew(); },
      own: (pixels, name) => { state.picture = { kind: "own", place: 0, pixels, name }; renew(); },
      restore: (picture) => { state.picture = picture; renew(); },
      noise: () => { state.seed = (state.seed % 999) + 1; renew(); },
      concept: (place) => { state.concept = place; renew(); },
      dataset: (name) => load(name).catch(lost),
    });

    const passes = find(".rd-lab-passes input");
    passes.addEventListener("input", () => { state.passes = Number(passes.value); renew(); });
    const govern = window.LabSides.govern(lab, { trigger, renew, lost, known });

    /* A data set with a network for each side; settings not asked for are those of the best-known snapshots. */
    async function load(name, asked = {}, linked = undefined) {
      const set = await Data.dataset(lab.told, name);
      const chosen = {};
      for (const side of all()) {
        const wanted = asked[side.id] || { n: side.id === "mem" ? 5 : set.count, p: 100, sigma: 0.2, lam: 0.0025, duplicates: 1 };
        const entry = Data.nearest(lab.told.states, name, wanted);
        if (!entry) throw new Error(`No network was trained on ${set.title}`);
        chosen[side.id] = { entry, wanted: asked[side.id] || Data.settingsOf(entry), net: await Data.snapshot(entry) };
      }
      for (const side of all()) govern.stop(side);
      const every = [...set.train, ...set.test], labels = [...set.trainLabels, ...set.testLabels];
      const average = (label) => {
        const of = every.filter((_, at) => labels[at] === label);
        return of.length ? set.mean.map((_, at) => of.reduce((sum, pixels) => sum + pixels[at], 0) / of.length) : null;
      };
      const concepts = set.classes.map((title, key) => ({ key, title, text: title, pixels: average(key) })).filter((one) => one.pixels);
      const before = lab.set?.name;
      lab.set = set;
      lab.length = every.reduce((sum, pixels) => sum + Maths.norm(Data.centred(pixels, set.mean)), 0) / every.length;
      picker.sets(lab.told.datasets, name);
      picker.fill(set, concepts);
      const { place, concept } = SHOWN[name] || { place: 0, concept: concepts.find((one) => one.key !== set.trainLabels[0])?.key };
      choose("train", place);
      if (name !== before || state.concept < 0) state.concept = linked ?? concept;
      for (const side of all()) { side.past = []; govern.adopt(side, chosen[side.id]); }
      renew();
      root.inert = false;
    }

    function choose(kind, place) {
      const label = lab.set[`${kind}Labels`][place];
      state.picture = { kind, place, pixels: lab.set[kind][place], name: lab.set.classes[label] };
    }

    /* Everything that depends on picture, concept, noise or networks; then the curves, while the page rests. */
    function renew() {
      const { set, length } = lab, clean = Data.centred(state.picture.pixels, set.mean);
      passes.value = state.passes;
      find(".rd-lab-passes output").textContent = state.passes;
      picker.show(state.picture, source(), state.concept);
      for (const side of all()) {
        const net = side.shown.net;
        side.z = Maths.noisy(clean, side.sigma, state.seed);
        side.h = Maths.represent(net, side.z);
        side.v = Maths.matched(net.classes[state.concept], side.h);
        side.base = Maths.steer(net, side.z, side.v, 0, state.passes, set.mean);
        Plots.paint(side.zero, side.base.map((value, at) => value + set.mean[at]));
        side.panel.flow({ net, set, length, z: side.z, clean, h: side.h, made: Maths.decode(net, side.h) });
        side.panel.spectrum(Maths.jacobian(net, side.z));
      }
      helm.set(state.strength);
      slide(state.strength);
      trace();
    }

    function known() {
      if (!all().every((side) => side.settings)) return;
      picker.known(lab.set.train.map((_, place) => all().filter((side) => Case.knows(lab.set, side.settings, place)).length));
    }

    const source = () => Case.source(lab.set, state.picture, all().map((side) => side.settings));

    /* Dragging: steered pictures at that very strength, computed here, no request. */
    function slide(a) {
      const { set } = lab;
      if (!set || !Number.isFinite(a)) return;
      state.strength = Math.min(FURTHEST, Math.max(0, a));
      const top = 1.2 * Math.max(...all().map((side) => Math.max(...side.h)), 1e-6);
      for (const side of all()) {
        const made = Maths.steer(side.shown.net, side.z, side.v, state.strength, state.passes, set.mean);
        Plots.paint(side.steered, made.map((value, at) => value + set.mean[at]));
        side.moved = Maths.moved(made, side.base);
        side.made = made;
        side.figure.querySelector(".rd-lab-moved").innerHTML = `moved <b>${side.moved.toFixed(1)}</b>`;
        side.figure.querySelector(".rd-lab-tag b").textContent = window.Rudder.signed(state.strength);
        side.steered.setAttribute("aria-label", `${side.word}: steered by ${state.strength.toFixed(2)} towards ${set.classes[state.concept]}`);
        side.steered.dataset.moved = side.moved.toFixed(2);
        side.top = top;
        side.after = Maths.represent(side.shown.net, made);
        side.panel.bars(side.h, side.after, top);
      }
    }

    function trace() {
      const turn = (drawing += 1);
      const curves = all().map((side) => ({ side, id: side.id === "mem" ? "b" : "a", title: side.word, points: [] }));
      const work = GRID.flatMap((a) => curves.map((curve) => ({ a, curve })));
      root.dataset.curve = "drawing";
      find(".rd-lab-answer").setAttribute("aria-busy", "true");
      (function some() {
        if (turn !== drawing) return;
        for (const until = performance.now() + 14; work.length && performance.now() < until;) {
          const { a, curve } = work.shift(), { side } = curve;
          curve.made = Maths.steer(side.shown.net, side.z, side.v, a, state.passes, lab.set.mean);
          curve.points.push([a, Maths.moved(curve.made, side.base)]);
        }
        if (work.length) { setTimeout(some); return; }
        for (const { side, points, made } of curves) {
          side.points = points;
          side.facts = Case.measure({ net: side.shown.net, clean: Data.centred(state.picture.pixels, lab.set.mean), h: side.h, v: side.v,
            base: side.base, made, points, passes: state.passes });
        }
        helm.curve(curves, GRID, TICKS);
        explain();
        root.dataset.curve = "drawn";
        if (!all().some((side) => side.training)) find(".rd-lab-answer").removeAttribute("aria-busy");
      })();
    }

    /* Every sentence of the room, from what was measured in the case at hand. */
    function explain() {
      for (const side of all()) {
        const name = `${side.id === "mem" ? "Left" : "Right"} (${side.word.toLowerCase()})`;
        find(`.rd-lab-answer .is-${side.id}`).replaceChildren(Plots.make("b", "", name), Case.sentence("", side.facts));
        side.panel.here(side.facts, lab.set.classes[state.concept]);
      }
      find(".rd-lab-answer h3").textContent = Case.verdict(sides.mem.facts, sides.gen.facts);
      introduce();
    }

    function introduce() {
      const facts = all().every((side) => side.facts) ? all().map((side) => side.facts) : null;
      if (all().every((side) => side.settings)) find(".rd-lede p").textContent = Case.lede(all().map((side) => side.settings.n), root.dataset.case, facts);
    }

    function lost(wrong) { window.Rudder.notify({ text: `${wrong.message}.`.replace("..", ".") }); }

    const actions = {
      link: () => window.LabFigure.link(lab),
      svg: () => window.LabFigure.save("svg", lab),
      png: () => window.LabFigure.save("png", lab).catch(lost),
      reset: () => {
        history.replaceState(history.state, "", location.pathname + location.search);
        Object.assign(state, { strength: START.strength, passes: START.passes, seed: START.seed, concept: -1 });
        load(Object.keys(lab.told.datasets)[0]).catch(lost);
      },
    };
    root.addEventListener("click", (event) => actions[event.target.closest("[data-do]")?.dataset.do]?.());

    function emphasise(which) {
      root.dataset.case = which;
      introduce();
    }

    async function start() {
      lab.told = await Data.index();
      const linked = window.LabFigure.linked(lab.told);
      Object.assign(state, linked.state || {});
      await load(linked.dataset || Object.keys(lab.told.datasets)[0], linked.sides, linked.state?.concept);
      if (linked.picture?.kind === "own") state.picture = linked.picture;
      else if (linked.picture && lab.set[linked.picture.kind][linked.picture.place]) choose(linked.picture.kind, linked.picture.place);
      if (linked.picture) renew();
      govern.again(Object.entries(linked.seeds).map(([id, seed]) => [sides[id], seed]));
      root.dataset.ready = "yes";
    }

    emphasise(waiting || "");
    const refused = () => {
      for (const side of all().filter((one) => one.training)) govern.apply({ side: side.id, ticket: side.ticket, phase: "failed" });
    };
    mounted = { emphasise, refused };
    watch("value", () => govern.apply(props.value));
    /* Nothing is fetched for a tab that nobody looks at. */
    new IntersectionObserver((seen, watcher) => {
      if (!seen.some((one) => one.isIntersecting)) return;
      watcher.disconnect();
      start().catch(lost);
    }).observe(root);
  }

  const there = () => [...document.querySelectorAll("#rd-tabs [role=tab], #rd-tabs .overflow-dropdown button")]
    .find((one) => one.textContent.trim() === TAB);

  /* From anywhere on the page: show the tab, with the network that is like the visitor's picture brought out. */
  function open(which = "") {
    waiting = which;
    mounted?.emphasise(which);
    const tab = there();
    tab?.click();
    if (tab) window.scrollTo({ top: 0 });
    return Boolean(tab);
  }

  /* A link to the lab opens its tab as soon as there is one. */
  if (location.hash.startsWith("#lab")) {
    const timer = setInterval(() => { if (open()) clearInterval(timer); }, 120);
    setTimeout(() => clearInterval(timer), 30_000);
  }
  return { mount, open, there, lost: () => mounted?.refused() };
})();
