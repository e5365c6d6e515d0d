/* What goes in: a training or test picture, one drawn or dropped, the concept to add, the noise. */
window.LabPicker = (() => {
  const Plots = window.LabPlots, Data = window.LabData;
  const SIDE = Plots.SIDE;

  const skeleton = `
    <label class="rd-lab-set"><span>Pictures</span><select aria-label="Data set"></select></label>
    <div class="rd-lab-own">
      <div class="rd-lab-slate"></div>
      <div class="rd-lab-tools">
        <button type="button" data-tool="white" aria-pressed="true"><i class="is-white"></i>Draw</button>
        <button type="button" data-tool="black" aria-pressed="false"><i class="is-black"></i>Rub</button>
        <button type="button" data-tool="clear">Clear</button>
        <button type="button" data-tool="undo" disabled>Undo</button>
        <button type="button" data-tool="open">Open</button>
        <button type="button" data-tool="noise">New noise</button>
        <input type="file" accept="image/*" aria-label="A picture of yours" hidden>
      </div>
      <p class="rd-lab-source"></p>
    </div>
    <h3>Training pictures <small></small></h3><div class="rd-lab-thumbs" data-kind="train"></div>
    <h3>Kept from training</h3><div class="rd-lab-thumbs" data-kind="test"></div>
    <h3>Steer towards</h3><div class="rd-lab-concepts"></div>
    <label class="rd-lab-passes" title="How often the network denoises; the edit is shared out over the first three quarters"><span>in
      passes</span><input type="range" min="1" max="32" step="1" aria-label="Denoising passes"><output></output></label>`;

  function thumbnail(pixels) {
    const picture = document.createElement("canvas");
    picture.width = picture.height = SIDE;
    Plots.paint(picture, pixels);
    return picture;
  }

  function mount(root, on) {
    root.innerHTML = skeleton;
    const find = (selector) => root.querySelector(selector);
    const slate = Plots.canvas("The picture: draw on it, or drop one here");
    slate.dataset.lab = "slate";
    find(".rd-lab-slate").append(slate);
    const file = find("input[type=file]");
    let pixels = new Float32Array(SIDE * SIDE).fill(-1), before = [], tool = "white", last = null;

    function remember() {
      before.push(on.current());
      if (before.length > 30) before.shift();
      find("[data-tool=undo]").disabled = false;
    }

    function stroke(event, from) {
      const box = slate.getBoundingClientRect();
      const to = { x: (SIDE * (event.clientX - box.left)) / box.width, y: (SIDE * (event.clientY - box.top)) / box.height };
      const start = from || to, far = Math.hypot(to.x - start.x, to.y - start.y);
      for (let step = 0; step <= Math.ceil(far * 2); step += 1) {
        const part = far ? step / Math.ceil(far * 2) : 0;
        dab(start.x + part * (to.x - start.x), start.y + part * (to.y - start.y));
      }
      Plots.paint(slate, pixels);
      return to;
    }

    function dab(x, y) {
      const aim = tool === "black" ? -1 : 1;
      for (let row = Math.floor(y - 2); row <= y + 2; row += 1) {
        for (let col = Math.floor(x - 2); col <= x + 2; col += 1) {
          if (row < 0 || col < 0 || row >= SIDE || col >= SIDE) continue;
          const near = Math.max(0, Math.min(1, 2 - Math.hypot(col + 0.5 - x, row + 0.5 - y)));
          pixels[row * SIDE + col] += near * (aim - pixels[row * SIDE + col]);
        }
      }
    }

    slate.addEventListener("pointerdown", (event) => {
      slate.setPointerCapture(event.pointerId);
      remember();
      pixels = pixels.slice();
      last = stroke(event);
      on.own(pixels, "Your drawing");
    });
    slate.addEventListener("pointermove", (event) => { if (last) { last = stroke(event, last); on.own(pixels.slice(), "Your drawing"); } });
    for (const end of ["pointerup", "pointercancel"]) slate.addEventListener(end, () => { last = null; });

    async function open(given) {
      try {
        const found = await Data.decodeFile(given);
        remember();
        on.own(found, given.name || "Your picture");
        window.Rudder.settle();
      } catch (wrong) {
        window.Rudder.notify({ text: wrong.message });
      }
    }
    file.addEventListener("change", () => { if (file.files[0]) open(file.files[0]); file.value = ""; });
    const target = root.closest(".rd-lab");
    const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
    target.addEventListener("dragover", (event) => { if (hasFiles(event)) { event.preventDefault(); target.classList.add("is-drop"); } });
    target.addEventListener("dragleave", (event) => { if (!target.contains(event.relatedTarget)) target.classList.remove("is-drop"); });
    target.addEventListener("drop", (event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      target.classList.remove("is-drop");
      if (event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
    });

    const tools = {
      clear: () => { remember(); on.own(new Float32Array(SIDE * SIDE).fill(-1), "Your drawing"); },
      undo: () => {
        const had = before.pop();
        find("[data-tool=undo]").disabled = !before.length;
        if (had) on.restore(had);
      },
      open: () => file.click(),
      noise: () => on.noise(),
    };
    root.addEventListener("click", (event) => {
      const name = event.target.closest("[data-tool]")?.dataset.tool;
      if (!name) return;
      if (tools[name]) { tools[name](); return; }
      tool = name;
      for (const one of root.querySelectorAll("[aria-pressed]")) one.setAttribute("aria-pressed", one.dataset.tool === name);
    });
    find("select").addEventListener("change", (event) => on.dataset(event.target.value));

    function radios(into, name, items, choose) {
      into.replaceChildren(...items.map((item) => {
        const label = Plots.make("label", "rd-lab-pick");
        const input = Object.assign(document.createElement("input"), { type: "radio", name, value: item.key });
        input.setAttribute("aria-label", item.title);
        input.addEventListener("change", () => choose(item));
        label.title = item.title;
        label.append(input, thumbnail(item.pixels));
        if (item.text) label.append(Plots.make("span", "", item.text));
        return label;
      }));
    }

    return {
      sets(datasets, chosen) {
        find("select").replaceChildren(...Object.entries(datasets).map(([key, about]) =>
          Object.assign(document.createElement("option"), { value: key, textContent: about.title, selected: key === chosen })));
      },
      fill(set, concepts) {
        before = [];
        find("[data-tool=undo]").disabled = true;
        for (const kind of ["train", "test"]) {
          const labels = set[`${kind}Labels`];
          const items = set[kind].map((pixels_, place) => ({ key: `${kind}${place}`, kind, place, pixels: pixels_,
            title: `${kind === "train" ? "Training" : "Test"} picture ${place + 1}: ${set.classes[labels[place]]}` }));
          radios(find(`[data-kind=${kind}]`), "rd-lab-picture", items, (item) => { remember(); on.pick(item.kind, item.place); });
        }
        radios(find(".rd-lab-concepts"), "rd-lab-concept", concepts, (item) => on.concept(item.key));
      },
      show(shown, words, concept) {
        pixels = shown.pixels.slice();
        Plots.paint(slate, pixels);
        find(".rd-lab-source").textContent = words;
        for (const input of root.querySelectorAll("[name=rd-lab-picture]")) input.checked = input.value === `${shown.kind}${shown.place}`;
        for (const input of root.querySelectorAll("[name=rd-lab-concept]")) input.checked = Number(input.value) === concept;
      },
      /* Which training pictures the networks know: for each how many of the two do. */
      known(counts) {
        const all = counts.every((count) => count === 2);
        find("h3 small").textContent = all ? "by both networks" : [["ringed: by both", 2], ["pale: by neither", 0]]
          .filter(([, count]) => counts.includes(count)).map(([words]) => words).join(", ") || "by one network each";
        find("[data-kind=train]").querySelectorAll("label").forEach((label, place) => {
          label.classList.toggle("is-both", !all && counts[place] === 2);
          label.classList.toggle("is-none", counts[place] === 0);
        });
      },
    };
  }

  return { mount };
})();
