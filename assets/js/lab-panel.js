/* One network of the lab: its knobs, what it stores, and what it makes of the picture on show. */
window.LabPanel = (() => {
  const Maths = window.LabMaths, Case = window.LabCase, Plots = window.LabPlots, Words = window.LabWords;
  const STORED = 7, FIRED = 6, STEPS = 400;
  const KNOBS = [
    { key: "n", label: "pictures", low: 5, high: 10000, wide: 46, least: 1, whole: true, about: "How many training pictures" },
    { key: "p", label: "units", low: 1, high: 200, wide: 28, least: 1, most: 200, whole: true, about: "How many hidden units" },
    { key: "sigma", label: "noise σ", low: 0.02, high: 2, wide: 36, least: 0, most: 2, about: "Standard deviation of the training noise; pixels span 2" },
    { key: "lam", label: "decay λ", low: 1e-5, high: 100, wide: 48, least: 0, most: 1000, about: "Weight decay" },
    { key: "duplicates", label: "copies", low: 1, high: 1000, wide: 36, least: 1, most: 1000, whole: true, about: "How often each of the first two pictures is in the training set; of the others, those unlike them stay" },
  ];

  const skeleton = `
    <header><span class="rd-tag"></span><p class="rd-lab-what"></p></header>
    <h3>What it stores <small>its longest columns: length, cosine to a training picture</small></h3>
    <div class="rd-lab-columns"></div>
    <h3>What it makes of the picture <small class="rd-lab-std"></small></h3>
    <div class="rd-lab-flow">
      <figure class="is-noisy"><figcaption>noisy <b></b></figcaption></figure>
      <figure class="rd-lab-code"><svg viewBox="0 0 240 100" preserveAspectRatio="none" role="img"></svg>
        <figcaption><span>representation h, unit by unit</span><i>after the edit</i></figcaption></figure>
      <figure class="is-denoised"><figcaption>denoised <b></b></figcaption></figure>
    </div>
    <div class="rd-lab-why">
      <div><h3>Columns that fired <small>share of the energy</small></h3><div class="rd-lab-fired"></div></div>
      <div><h3>Directions that pass <small class="rd-lab-rank"></small></h3>
        <svg class="rd-lab-spectrum" viewBox="0 0 120 52" preserveAspectRatio="none" role="img"></svg></div>
    </div>
    <div class="rd-lab-own-network">
      <div class="rd-lab-knobs"></div>
      <div class="rd-lab-state"><p role="status"></p><svg viewBox="0 0 96 26" preserveAspectRatio="none" role="img" aria-label="Training loss"></svg>
        <button type="button" class="rd-lab-undo" disabled>Undo</button><button type="button" class="rd-lab-train">Train live</button></div>
    </div>
    <div class="rd-lab-folds"><div class="rd-lab-theorems"></div>${Words.flow}${Words.fired}</div>`;

  const tidy = (value, whole) => (whole ? Math.round(value) : Number(value.toPrecision(2)));
  const shown = (value) => (value >= 1000 ? value.toLocaleString("en") : String(value));
  const { percent } = Case;

  /* A knob is a logarithmic slider and the exact number; a bad number is said and taken back. Arrow keys go to the next of
     `useful()`, the values that show something else. */
  function knob(root, about, change, useful) {
    const label = Plots.make("label", "rd-lab-knob");
    label.title = about.about;
    const range = Object.assign(document.createElement("input"), { type: "range", min: 0, max: STEPS, step: 1 });
    const exact = Object.assign(document.createElement("input"), { type: "text", inputMode: "decimal", className: "rd-lab-exact" });
    range.setAttribute("aria-label", about.about);
    exact.setAttribute("aria-label", `${about.about}, exactly`);
    exact.style.width = `${about.wide}px`;
    exact.dataset.knob = range.dataset.knob = about.key;
    let low = about.low, high = about.high, value = low;
    const place = () => STEPS * Math.log(Math.max(low, Math.min(high, value)) / low) / Math.log(high / low);
    const show = () => { exact.value = shown(value); range.value = place(); range.setAttribute("aria-valuetext", shown(value)); };
    range.addEventListener("input", () => {
      const next = tidy(low * (high / low) ** (range.value / STEPS), about.whole);
      if (next !== value) { value = next; exact.value = shown(value); range.setAttribute("aria-valuetext", shown(value)); change(about.key, value); }
    });
    range.addEventListener("keydown", (event) => {
      const way = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
      if (!way) return;
      event.preventDefault();
      const next = useful(about).filter((one) => way * (one - value) > 1e-6 * value).sort((one, other) => way * (one - other))[0];
      if (next === undefined) return;
      value = next;
      show();
      change(about.key, value);
    });
    exact.addEventListener("change", () => {
      const typed = Number(exact.value.replaceAll(",", ""));
      const wrong = wrongWith(about, exact.value.trim(), typed, high);
      if (wrong) { window.Rudder.notify({ text: wrong }); show(); return; }
      window.Rudder.quiet();
      value = typed;
      show();
      change(about.key, value);
    });
    label.append(Plots.make("span", "", about.label), exact, range);
    root.append(label);
    return {
      set(next) { value = next; show(); },
      bound(most) { if (about.key === "n") { high = most; show(); } },
    };
  }

  function wrongWith(about, text, value, count) {
    const name = about.label[0].toUpperCase() + about.label.slice(1);
    if (!text || !Number.isFinite(value)) return `${name}: "${text.slice(0, 20)}" is not a number.`;
    if (about.whole && !Number.isInteger(value)) return `${name} must be a whole number.`;
    if (about.key === "p" && value < 1) return "Units must be at least 1: with no units there is nothing to learn.";
    if (about.key === "n" && value > count) return `The data set has ${count.toLocaleString("en")} training pictures: n cannot be larger.`;
    if (value < about.least) return `${name} must be at least ${about.least}.`;
    if (value > about.most) return `${name} can be at most ${about.most.toLocaleString("en")} on this page; the package takes more.`;
    return "";
  }

  function mount(root, side, on) {
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const knobs = Object.fromEntries(KNOBS.map((about) => [about.key, knob(find(".rd-lab-knobs"), about, on.knob, on.useful)]));
    const cells = (into, count, label) => Array.from({ length: count }, (_, place) => {
      const figure = Plots.make("figure");
      const picture = Plots.canvas(`${label} ${place + 1}`);
      figure.append(picture, Plots.make("figcaption"));
      find(into).append(figure);
      return { figure, picture, caption: figure.lastChild };
    });
    const stored = cells(".rd-lab-columns", STORED, "Stored column");
    const fired = cells(".rd-lab-fired", FIRED, "Fired column");
    const noisy = Plots.canvas("The picture with noise"), denoised = Plots.canvas("The picture denoised");
    find(".is-noisy").prepend(noisy);
    find(".is-denoised").prepend(denoised);
    noisy.dataset.lab = `${side}-noisy`;
    denoised.dataset.lab = `${side}-denoised`;
    find(".rd-lab-train").addEventListener("click", () => (root.dataset.phase === "training" ? on.stop() : on.train()));
    find(".rd-lab-undo").addEventListener("click", on.undo);
    root.dataset.phase = "idle";

    /* A column at the length of an average picture, the mean picture added back. */
    function drawn(net, unit, set, length) {
      const w = Maths.column(net, unit), size = net.norms[unit];
      if (size < 1e-3) return set.mean;
      return set.mean.map((value, at) => value + (w[at] * length) / size);
    }

    return {
      root,
      settings(values, count) {
        knobs.n.bound(count);
        for (const [key, value] of Object.entries(values)) knobs[key]?.set(value);
      },
      /* What is on show: a tag by measured regime, the settings it was trained with. */
      title(word, settings, regime) {
        find(".rd-tag").textContent = word;
        if (root.dataset.regime !== regime) find(".rd-lab-theorems").innerHTML = Words.store(regime);
        root.dataset.regime = regime;
        const what = find(".rd-lab-what");
        what.textContent = `${shown(settings.n)} pictures, ${settings.p} units`
          + (settings.duplicates > 1 ? `; two of them ${shown(settings.duplicates)} times` : "");
        what.title = settings.duplicates > 1 ? "Of the others, those unlike the two are in the training set." : "";
      },
      say(text, kind = "") {
        find(".rd-lab-state p").textContent = text;
        find(".rd-lab-state").className = `rd-lab-state ${kind}`;
      },
      phase(name, undo) {
        root.dataset.phase = name;
        find(".rd-lab-train").textContent = name === "training" ? "Stop" : "Train live";
        find(".rd-lab-undo").disabled = !undo;
      },
      loss(values) {
        find(".rd-lab-state svg").innerHTML = values.length > 1 ? Plots.line(values, 96, 26, { log: true }) : "";
      },
      /* columns = [[length, cosine], ...]; the network's largest columns as pictures. */
      columns(net, set, length, told) {
        stored.forEach(({ figure, picture, caption }, unit) => {
          figure.classList.toggle("is-empty", unit >= net.p || net.norms[unit] < 0.1 * net.norms[0]);
          if (unit >= net.p) { Plots.paint(picture, set.mean); caption.textContent = "–"; return; }
          Plots.paint(picture, drawn(net, unit, set, length));
          const [size, cosine] = told[unit];
          caption.innerHTML = `<b>${size.toFixed(2)}</b><span>cos ${cosine.toFixed(cosine > 0.99 ? 3 : 2)}</span>`;
          caption.title = "length of the column; largest cosine to a training picture";
        });
      },
      flow({ net, set, length, z, clean, h, made }) {
        Plots.paint(noisy, z.map((value, at) => value + set.mean[at]));
        Plots.paint(denoised, made.map((value, at) => value + set.mean[at]));
        find(".is-noisy b").textContent = `${Maths.psnr(z, clean).toFixed(1)} dB`;
        find(".is-denoised b").textContent = `${Maths.psnr(made, clean).toFixed(1)} dB`;
        const std = Maths.std(h), shares = Maths.shares(h);
        const order = Array.from(h.keys()).sort((one, other) => h[other] - h[one]);
        const { kind: word, top } = Case.codeOf(h);
        find(".rd-lab-std").innerHTML = `std <b>${std.toFixed(2)}</b>, ${word}: strongest unit <b>${percent(top)}</b>`;
        root.dataset.std = std.toFixed(3);
        root.dataset.code = word;
        fired.forEach(({ figure, picture, caption }, place) => {
          const unit = order[place];
          const silent = unit === undefined || h[unit] <= 0;
          figure.classList.toggle("is-empty", silent || shares[unit] < 0.005);
          Plots.paint(picture, silent ? set.mean : drawn(net, unit, set, length));
          caption.textContent = silent ? "silent" : percent(shares[unit]);
        });
      },
      bars(h, after, top) {
        find(".rd-lab-code svg").innerHTML = Plots.bars(h, after, 240, 100, top);
        find(".rd-lab-code svg").setAttribute("aria-label", `Activations of ${h.length} units`);
      },
      spectrum(values) {
        const rank = Maths.effectiveRank(values);
        find(".rd-lab-rank").innerHTML = `<b>${rank.toFixed(rank < 10 ? 1 : 0)}</b>`;
        find(".rd-lab-spectrum").innerHTML = Plots.stems(values.slice(0, 60), 120, 52, Math.max(1, values[0] || 1));
        find(".rd-lab-spectrum").setAttribute("aria-label", `Singular values of the Jacobian, effective rank ${rank.toFixed(1)}`);
      },
      /* What the theorems' numbers are in the case at hand. */
      here({ code, kept, back }, concept) {
        find("[data-here=code]").textContent = `Here the picture ${Case.spread(code)}.`;
        find("[data-here=kept]").textContent = `Here the picture comes back with cosine ${back.toFixed(2)}, and of a weak push `
          + `towards “${concept}” one more pass leaves ${percent(kept)}.`;
      },
      drawn,
    };
  }

  return { mount, KNOBS };
})();
