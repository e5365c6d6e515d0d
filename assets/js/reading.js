/* The reading under each picture: verdict, where its score falls, its channels, nearest training picture, response. */
window.RudderReading = (() => {
  const svg = "http://www.w3.org/2000/svg";

  const skeleton = `
    <header><h3></h3><p class="rd-verdict"></p></header>
    <div class="rd-plots">
      <figure><svg class="rd-histogram" viewBox="0 0 200 84" role="img"></svg><figcaption></figcaption></figure>
      <figure><svg class="rd-bars" viewBox="0 0 200 84" role="img"></svg><figcaption></figcaption></figure>
    </div>
    <div class="rd-facts">
      <figure class="rd-nearest rd-own-picture" hidden><img alt=""><figcaption>as the model sees it</figcaption></figure>
      <figure class="rd-nearest is-training"><img alt=""><figcaption></figcaption></figure>
      <p class="rd-response"></p>
    </div>
    <button type="button" class="rd-why"></button>
    <details class="rd-how"><summary>How computed</summary><div></div></details>
    <details class="rd-profile"><summary>Where in the network, and at which noise?</summary><div></div></details>`;

  function shape(root, kind, attributes) {
    const node = document.createElementNS(svg, kind);
    for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
    root.append(node);
    return node;
  }

  /* Both groups' held-out scores; the dashed line is the threshold, the needle this picture. */
  function histogram(root, told) {
    root.replaceChildren();
    const { low, high, ordinary, memorized } = told.histogram;
    const at = (score) => 200 * Math.min(1, Math.max(0, (score - low) / (high - low)));
    const wide = 200 / ordinary.length;
    const top = Math.max(...ordinary, ...memorized);
    for (const [name, shares] of [["ordinary", ordinary], ["memorised", memorized]]) {
      shares.forEach((share, bin) => {
        if (!share) return;
        const tall = 3 + 67 * Math.sqrt(share / top);
        shape(root, "rect", { class: `is-${name}`, x: bin * wide + 0.4, width: wide - 0.8, y: 82 - tall, height: tall });
      });
    }
    shape(root, "line", { class: "is-threshold", x1: at(told.threshold), x2: at(told.threshold), y1: 8, y2: 82 });
    shape(root, "rect", { class: "is-spread", x: at(told.score - told.spread), y: 2, height: 80,
      width: Math.max(1, at(told.score + told.spread) - at(told.score - told.spread)) });
    shape(root, "line", { class: "is-needle", x1: at(told.score), x2: at(told.score), y1: 2, y2: 82 });
    shape(root, "circle", { class: "is-needle", cx: at(told.score), cy: 4, r: 3.4 });
    shape(root, "line", { class: "is-floor", x1: 0, x2: 200, y1: 82.5, y2: 82.5 });
    root.setAttribute("aria-label", `Spikiness ${told.score.toFixed(2)} among ordinary and memorised pictures`);
  }

  /* Channels, the strongest first; lines are a typical ordinary and a typical memorised picture. */
  function bars(root, told) {
    root.replaceChildren();
    const all = [told.bars, told.typical.ordinary, told.typical.memorized];
    const top = Math.max(...all.flat(), 1e-6);
    const wide = 200 / told.bars.length;
    const y = (value) => 82 - (78 * Math.max(0, value)) / top;
    told.bars.forEach((value, place) => shape(root, "rect", { class: "is-own", x: place * wide + 0.3,
      width: wide - 0.6, y: y(value), height: Math.max(0.4, 82 - y(value)) }));
    for (const name of ["ordinary", "memorized"]) {
      const points = told.typical[name].map((value, place) => `${(place + 0.5) * wide},${y(value)}`).join(" ");
      shape(root, "polyline", { class: name === "ordinary" ? "is-ordinary" : "is-memorised", points });
    }
    shape(root, "line", { class: "is-floor", x1: 0, x2: 200, y1: 82.5, y2: 82.5 });
    root.setAttribute("aria-label", "Channel activations, the strongest first");
  }

  /* Under the sentence: why there is none, or that its second half is still being painted. */
  function remark(told, response) {
    if (told.missing) return told.missing;
    if (response === undefined) return "How it answers to the concept is said once its strip is painted.";
    return "";
  }

  function nearest(root, told) {
    root.hidden = !told;
    if (!told) return;
    root.querySelector("img").src = told.src;
    root.querySelector("figcaption").textContent = `nearest training picture (${told.kind}), distance ${told.distance}`;
  }

  function heat(root, told) {
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    for (const text of ["site", ...told.timesteps.map((t) => `t ${t}`)]) {
      head.append(Object.assign(document.createElement("th"), { textContent: text }));
    }
    const body = table.createTBody();
    told.sites.forEach((site, place) => {
      const row = body.insertRow();
      row.append(Object.assign(document.createElement("th"), { textContent: site.replace(".nonlinearity", "") }));
      for (const value of told.values[place]) {
        const cell = row.insertCell();
        cell.textContent = Math.abs(value) < 9.95 ? value.toFixed(1).replace("-", "\u2212") : value > 0 ? "> 9" : "< \u22129";
        cell.style.setProperty("--heat", Math.min(1, Math.max(0, value)).toFixed(2));
      }
    });
    const note = Object.assign(document.createElement("p"),
      { textContent: "0 is the median ordinary picture, 1 the median memorised one, at that place. Large values: a place "
        + "that hardly tells the two apart." });
    root.replaceChildren(note, table);
  }

  /* One card; `ask` fetches the profile when it is first unfolded. */
  function card(root, ask) {
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    let asked = false, lesson = null, current = null;
    find(".rd-why").addEventListener("click", () => window.RudderLab.open(lesson[1]));
    find(".rd-profile").addEventListener("toggle", () => {
      if (!find(".rd-profile").open && !find(".rd-profile table")) asked = false; // an answer that never came is asked for again
      if (!find(".rd-profile").open || asked) return;
      asked = true;
      find(".rd-profile div").textContent = "Reading every site …";
      ask?.();
    });
    return {
      show(title, told, response, picture) {
        root.hidden = !told;
        if (!told) return;
        if (told !== current) {
          asked = find(".rd-profile").open = false;
          find(".rd-profile div").replaceChildren();
        }
        current = told;
        find(".rd-profile").hidden = Boolean(told.missing) || !ask;
        find("h3").textContent = title;
        root.classList.toggle("is-memorised", told.verdict === "memorised");
        root.classList.toggle("is-unknown", told.verdict === "none");
        lesson = response?.lesson || told.lesson;
        find(".rd-why").hidden = !lesson || !window.RudderLab.there();
        find(".rd-why").textContent = lesson ? lesson[0] : "";
        find(".rd-plots").hidden = Boolean(told.missing);
        find(".rd-verdict").textContent = response?.sentence || told.sentence || "No verdict.";
        find(".rd-response").textContent = remark(told, response);
        find(".rd-how").hidden = Boolean(told.missing) && !response;
        find(".rd-how div").replaceChildren(...[told.how, response?.how].filter(Boolean)
          .map((text) => Object.assign(document.createElement("p"), { textContent: text })));
        nearest(find(".is-training"), told.nearest);
        find(".rd-own-picture").hidden = !picture;
        if (picture) find(".rd-own-picture img").src = picture;
        if (told.missing) return;
        histogram(find(".rd-histogram"), told);
        bars(find(".rd-bars"), told);
        const [first, second] = root.querySelectorAll(".rd-plots figcaption");
        first.textContent = `spikiness ${told.score.toFixed(3)} among known pictures, ordinary and memorised; dashed: the `
          + "threshold";
        second.textContent = "its channels, strongest first; lines: a typical ordinary and memorised picture";
      },
      stale(is) { root.classList.toggle("is-stale", is); },
      profile(told) { heat(find(".rd-profile div"), told); },
    };
  }

  return { card };
})();
