/* The Concepts tab: cards that unfold, trays of pictures to leave out with a click, and what learning says. */
window.RudderConcepts = (() => {
  const STATES = { takes: "is-good", works: "is-good", weak: "is-doubtful", cannot: "is-bad", untried: "" };
  const WAYS = { pictures: "Pictures", prompts: "Two prompts", combine: "Combine", file: "File" };
  const MOVE = 6000; // milliseconds that the maker gets to reach the way that a link asks for
  let opened = "";
  let redraw = () => {}, retell = () => {};
  let there = null;         // the names of all cards
  let chosen = "pictures";  // the way to make a concept that was looked at last
  let aim = null;           // the one that is being gone to
  const held = {};          // what the address keeps: the way that is open, "" for none, and the unfolded card

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function button(className, text, act, label) {
    const node = make("button", className, text);
    node.type = "button";
    if (label) node.setAttribute("aria-label", label);
    node.addEventListener("click", act);
    return node;
  }

  function tabNamed(name) {
    const tabs = [...document.querySelectorAll("#rd-tabs > .tab-wrapper [role=tab], #rd-ways [role=tab]")];
    return tabs.find((tab) => tab.textContent.trim() === name);
  }

  /* From the Steer tab: to this one, its maker unfolded. */
  function link(element) {
    element.querySelector("button").addEventListener("click", () => open());
  }

  /* To this tab, its maker unfolded, at a way to make a concept. */
  function open(name) {
    tabNamed("Concepts")?.click();
    setTimeout(() => unfold(name), 120);
  }

  function unfold(way, scroll = true) {
    const head = fold();
    if (head && !isOpen()) head.click();
    if (scroll) document.querySelector("#rd-maker")?.scrollIntoView({ block: "start" });
    if (way) setTimeout(() => tabNamed(way)?.click(), 120);
  }

  const fold = () => document.querySelector("#rd-maker > button.label-wrap");
  const isOpen = () => Boolean(fold()?.classList.contains("open"));

  /* What belongs to the way that is chosen: trays and name for sets alone. */
  function way(name) {
    chosen = name;
    lay();
    if (isOpen()) keep("way", name);
  }

  const lay = () => document.querySelector("#rd-maker-row")?.setAttribute("data-way", chosen);

  /* The maker was unfolded or folded away. */
  function folds(open) {
    if (open) setTimeout(lay);
    keep("way", open ? chosen : "");
  }

  /* What is kept is set here, by what a visitor does, and from outside, by a link or by going back. */
  function holds(name, { props, watch }) {
    held[name] = props;
    const show = { way: showWay, card: showCard }[name];
    watch("value", () => show(props.value || ""));
    if (props.value) show(props.value);
  }

  function keep(name, value) {
    if (name === "way" && aim !== null) {  // on its way there it passes others
      if (value !== aim) return;
      aim = null;
    }
    if (held[name] && held[name].value !== value) held[name].value = value;
  }

  function showWay(value) {
    if (value === (isOpen() ? chosen : "")) return;
    aim = value;
    setTimeout(() => { aim = null; }, MOVE);
    if (value) unfold(chosen === value ? "" : WAYS[value], false);
    else fold()?.click();
  }

  function showCard(value) {
    if (opened === value) return;
    opened = value;
    redraw();
    if (value) document.querySelector(`.rd-concept[data-key="${CSS.escape(value)}"]`)?.scrollIntoView({ block: "nearest" });
  }

  function openCard(key) {
    opened = key;
    keep("card", key);
  }

  /* Pictures are what a link of this tab lacks. */
  function copying(element) {
    const brought = () => document.querySelector("#rd-maker-sets .rd-shot");
    RudderLink.lacking("concepts", () => (brought() ? "the pictures of the two sets: they do not travel" : ""));
    element.querySelector(".rd-concepts-copy").addEventListener("click", () => RudderLink.copy());
  }

  /* Steering with a concept: the other tab, and Generate, which the server presses. */
  function steer(trigger, key) {
    Rudder.quiet();
    tabNamed("Steer")?.click();
    scrollTo({ top: 0 });
    trigger("steer", { key });
  }

  function progress({ element, props, trigger, watch }) {
    const go = element.querySelector(".rd-go");
    go.addEventListener("click", () => steer(trigger, props.value.steer));
    const show = () => {
      const { done = 0, total = 1, busy = false, steer: key, ...said } = props.value || {};
      const text = key && there && !there.has(key) ? "" : said.text || "";  // deleted since, and perhaps taken back
      element.querySelector("p").textContent = text;
      element.querySelector(".rd-bar i").style.width = `${busy ? (100 * done) / total : 0}%`;
      element.querySelector(".rd-learning").classList.toggle("is-busy", busy);
      go.hidden = busy || !key || !text;
    };
    document.addEventListener("rudder-renamed", ({ detail: { old, name } }) => {
      const { text = "", steer: key } = props.value || {};
      if (key === old) props.value = { ...props.value, text: text.replace(`“${old}”`, `“${name}”`), steer: name };
    });
    retell = show;
    show();
    watch("value", show);
  }

  function stopped() {
    const line = document.querySelector("#rd-learning .rd-learning");
    if (!line?.classList.contains("is-busy")) return { text: line?.querySelector("p").textContent || "", busy: false };
    const kept = /^(painting|reading) /.test(line.querySelector("p").textContent);
    return { busy: false, text: kept ? "Stopped: what is there stays, and goes on where it was left."
      : "Learning was stopped: nothing was kept, start again when you like." };
  }

  /* A tray: its pictures, each left out or taken back with a click. */
  function tray({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-tray");
    const out = new Set();
    let follow = "";

    function count(line) {
      const { shots } = props.value;
      const left = shots.filter(({ key }) => !out.has(key)).length;
      const few = shots.length && left < props.least;
      line.textContent = shots.length ? `${left} picture${left === 1 ? "" : "s"}${out.size
        ? `, ${out.size} left out` : ""}${few ? `: at least ${props.least} are needed` : ""}`
        : props.value.side === "concept" ? `${props.least} to ${props.most} pictures; ten or more are steadier` : "None yet";
      line.classList.toggle("is-few", Boolean(few));
    }

    function draw() {
      const { side, shots, out: gone, text, cleared } = props.value;
      out.clear();
      gone.forEach((key) => out.add(key));
      const head = make("header");
      const title = side === "concept" ? "Shows it" : "Doesn’t";
      const line = make("span", "rd-tray-count");
      head.append(make("h3", "", title), line);
      if (cleared) {
        head.append(button("rd-quiet rd-unclear", `Bring ${cleared} back`, () => { follow = ".rd-clear"; trigger("undo", { side }); },
          `Undo: bring back the ${cleared} cleared away: ${title}`));
      }
      if (shots.length) {
        head.append(button("rd-quiet rd-clear", "Clear", () => { follow = ".rd-unclear"; trigger("clear", { side }); },
          `Clear: ${title}`));
      }
      if (side === "concept") {
        head.append(button("rd-quiet", "Swap", () => trigger("swap", { side }), "Swap the two sets"));
      }
      const grid = make("div", "rd-shots");
      grid.setAttribute("role", "group");
      grid.setAttribute("aria-label", `${title}: a click leaves a picture out`);
      for (const { key, name, src } of shots) {
        const shot = button("rd-shot", undefined, () => {
          const off = !out.has(key);
          if (off) out.add(key); else out.delete(key);
          shot.setAttribute("aria-pressed", String(off));
          count(line);
          trigger("prune", { key, out: off });
        }, `Leave out ${name}`);
        shot.title = name;
        shot.setAttribute("aria-pressed", String(out.has(key)));
        const picture = make("img");
        picture.src = src;
        picture.alt = "";
        shot.append(picture);
        grid.append(shot);
      }
      root.replaceChildren(head, grid, make("p", "rd-tray-said", text));
      root.classList.toggle("is-empty", !shots.length);
      count(line);
      if (follow) root.querySelector(follow)?.focus();  // the button that was pressed is gone
      follow = "";
    }
    draw();
    watch("value", draw);
  }

  function cards({ element, props, trigger, watch }) {
    const root = element.querySelector(".rd-concept-cards");
    let follow = "", last = "";

    function figure(list, [term, words]) {
      list.append(make("dt", "", term), make("dd", "", words));
    }

    function card(item) {
      const node = make("article", "rd-concept");
      node.dataset.key = item.key;
      const head = make("header");
      const face = item.face ? make("img", "rd-concept-face") : make("span", "rd-concept-face", item.title.slice(0, 1));
      if (item.face) { face.src = item.face; face.alt = ""; }
      const title = make("div", "rd-concept-title");
      title.append(make("h3", "", item.title));
      const line = make("p");
      if (item.own) line.append(make("b", "rd-mine", "yours"));
      line.append(make("span", `rd-state ${STATES[item.state] || ""}`, item.says));
      title.append(line);
      head.append(face, title);
      const list = make("dl");
      item.figures.forEach((row) => figure(list, row));
      const doubt = make("p", "rd-doubt", item.doubts[0] || "");
      const row = make("div", "rd-concept-row");
      const more = button("rd-quiet rd-concept-more", "Details", () => {
        openCard(opened === item.key ? "" : item.key);
        draw();
        root.querySelector(`[data-key="${CSS.escape(item.key)}"] .rd-concept-more`)?.focus();
      }, `Details of ${item.title}`);
      more.setAttribute("aria-expanded", String(opened === item.key));
      row.append(button("rd-steer", "Steer with it", () => steer(trigger, item.key), `Steer with ${item.title}`), more);
      node.append(head, list, doubt, row);
      node.classList.toggle("is-open", opened === item.key);
      if (opened === item.key) node.append(details(item));
      return node;
    }

    function sheet(source, words) {
      const node = make("figure"), picture = make("img");
      picture.src = source;
      picture.alt = words;
      node.append(make("figcaption", "", words), picture);
      return node;
    }

    function details(item) {
      const body = make("div", "rd-concept-body");
      const facts = make("div", "rd-concept-facts");
      if (item.description) facts.append(make("p", "", `${item.description}.`));
      facts.append(make("h4", "", "What it is made of"), make("p", "", item.made || "Its own pictures, once it is learned."));
      if (item.examples) facts.append(sheet(item.examples, "learned from"));
      if (item.baseline) facts.append(sheet(item.baseline, "compared with"));
      const good = make("div", "rd-concept-facts");
      good.append(make("h4", "", "Is it any good?"));
      if (item.why) good.append(make("p", "", item.why));
      item.doubts.filter((sentence) => sentence !== item.why).forEach((sentence) => good.append(make("p", "rd-doubt", sentence)));
      if (item.searched) good.append(make("p", "", item.searched));
      if (item.sites.length && item.measured) good.append(table(item.sites));
      if (!item.measured) {
        good.append(make("p", "", item.measurable ? "How well it tells its pictures apart was not measured yet."
          : item.state === "untried" ? "There are no pictures to measure it on: see how it steers."
            : "The file does not say how well it tells its pictures apart."));
        if (item.measurable && item.sites.length) {
          good.append(button("rd-quiet rd-measure", "Measure it", () => trigger("measure", { key: item.key })));
        }
      }
      if (item.alike.length) {
        good.append(make("h4", "", "Which others it resembles"));
        const list = make("dl", "rd-alike");
        item.alike.forEach(([title, value]) => {
          const words = make("dd"), track = make("b"), bar = make("i");
          bar.style.width = `${Math.round(50 * Math.abs(value))}%`;
          bar.style.left = value < 0 ? `${50 - 50 * Math.abs(value)}%` : "50%";
          track.append(bar);
          words.append(track, make("span", "", Rudder.signed(value)));
          list.append(make("dt", "", title), words);
        });
        good.append(list);
      }
      body.append(facts, good, tools(item));
      return body;
    }

    function table(sites) {
      const node = make("table", "rd-sites"), head = make("tr");
      ["site", "told apart", "length", "halves agree"].forEach((word) => head.append(make("th", "", word)));
      node.append(head);
      const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(0)} %`);
      sites.forEach(({ site, used, auroc, share, steady }) => {
        const row = make("tr", used ? "is-used" : "");
        row.append(make("td", "", used ? `${site} (steered)` : site), make("td", "", percent(auroc)), make("td", "", percent(share)),
          make("td", "", steady === null ? "–" : Rudder.signed(steady)));
        node.append(row);
      });
      const wide = make("div", "rd-wide");
      wide.tabIndex = 0;  // it scrolls on a phone
      wide.setAttribute("role", "region");
      wide.setAttribute("aria-label", "Measured at each site");
      wide.append(node);
      return wide;
    }

    function tools(item) {
      const bar = make("div", "rd-concept-tools");
      if (item.own) {
        const name = make("input");
        name.type = "text";
        name.maxLength = 40;
        name.value = item.title;
        name.setAttribute("aria-label", "Name");
        const act = () => trigger("rename", { key: item.key, name: name.value });
        name.addEventListener("keydown", (event) => { if (event.key === "Enter" && !event.isComposing) act(); });
        bar.append(name, button("rd-quiet rd-rename", "Rename", act));
      }
      bar.append(button("rd-quiet rd-blend", "Combine with another", () => {
        trigger("blend", { key: item.key });
        unfold("Combine");
      }));
      if (item.sites.length) bar.append(button("rd-quiet rd-fetch", "Download", () => trigger("fetch", { key: item.key })));
      if (item.own) {
        bar.append(button("rd-quiet rd-remove", "Delete", () => {
          openCard("");
          follow = ".rd-gone button";
          trigger("remove", { key: item.key });
        }, `Delete ${item.title}`));
      }
      return bar;
    }

    /* What was deleted last can be taken back, until the next is. */
    function undo(name) {
      const line = make("div", "rd-gone");
      const words = make("p", "", `“${name}” is deleted.`);
      words.setAttribute("role", "status");
      line.append(words, button("rd-quiet", "Undo", () => {
        follow = ".rd-concept.is-open .rd-concept-more";
        trigger("undo");
      }, `Undo: bring ${name} back`));
      return line;
    }

    function draw() {
      const { cards: items = [], gone } = props.value || {};
      root.replaceChildren(...(gone ? [undo(gone)] : []), ...items.map(card));
      there = new Set(items.map((item) => item.key));
      retell();
      if (!follow || !root.querySelector(follow)) return;
      root.querySelector(follow).focus();
      follow = "";
    }

    redraw = draw;
    draw();
    watch("value", () => {
      const { open, renamed = [] } = props.value;
      if (renamed.length && renamed.join("\n") !== last) RudderLink.renamed(...renamed);
      last = renamed.join("\n");
      if (open) openCard(open);
      draw();
    });
  }

  /* The download that the server has made ready. */
  function save() {
    setTimeout(() => {
      const ready = document.querySelector("#rd-concept-file");
      (ready?.matches("button, a") ? ready : ready?.querySelector("a, button"))?.click();
    }, 150);
  }

  return { link, open, way, folds, holds, copying, progress, stopped, tray, cards, save };
})();
