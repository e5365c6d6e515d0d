/* Pickers are radio groups in gr.HTML: arrow keys and screen readers come with the inputs. */
window.RudderPickers = (() => {
  let serial = 0;
  let starts = {};
  let frames = {};
  let known = {};

  function make(tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /* props.value is the chosen key, props.items the cards; choosing sets the value and triggers "select". */
  function group(root, name, items, selected, card, choose) {
    const cards = JSON.stringify(items.map((item) => item.key));
    if (root.dataset.cards === cards) {  /* the same cards: keep the focus where it is */
      for (const input of root.querySelectorAll("input")) input.checked = input.value === selected;
      return;
    }
    root.dataset.cards = cards;
    root.replaceChildren();
    for (const item of items) {
      const label = make("label", "rd-pick");
      const input = make("input");
      input.type = "radio";
      input.name = name;
      input.value = item.key;
      input.checked = item.key === selected;
      input.setAttribute("aria-label", item.title);
      input.addEventListener("change", () => choose(item));
      label.title = item.title;
      label.append(input, ...card(item));
      root.append(label);
    }
  }

  function prompts({ element, props, trigger, watch }) {
    const name = `rd-prompts-${++serial}`;
    const root = element.querySelector(".rd-thumbs");
    const draw = () => {
      group(root, name, props.items || [], props.value, (item) => {
        const picture = make("img");
        picture.alt = "";
        picture.src = item.picture;
        return [picture];
      }, (item) => {
        props.value = item.key;
        trigger("select", { prompt: item.key });
      });
    };
    draw();
    watch(["value", "items"], draw);
  }

  function concepts({ element, props, trigger, watch }) {
    const name = `rd-concepts-${++serial}`;
    const root = element.querySelector(".rd-concepts");
    const about = element.querySelector(".rd-about");
    function describe(item) {
      about.replaceChildren();
      if (!item) return;
      about.append(make("p", "", item.description));
      for (const [pictures, words] of [[item.examples, "learned from"], [item.baseline, "compared with"]]) {
        if (!pictures) continue;
        const figure = make("figure");
        const sheet = make("img");
        sheet.src = pictures;
        sheet.alt = `${item.title}: ${words} pictures like these`;
        figure.append(make("figcaption", "", words), sheet);
        about.append(figure);
      }
    }
    function draw() {
      const items = props.items || [];
      starts = Object.fromEntries(items.map((item) => [item.key, item.start]));
      frames = Object.fromEntries(items.map((item) => [item.key, item.frames]));
      known = Object.fromEntries(items.map((item) => [item.key, item]));
      document.querySelector("#rd-bare")?.toggleAttribute("hidden", items.length > 0);
      group(root, name, items, props.value, (item) => {
        const face = item.face ? make("img") : make("span", "rd-face", item.title.slice(0, 1));
        if (item.face) { face.src = item.face; face.alt = ""; }
        const title = make("span", "rd-pick-title", item.title);
        if (item.own) title.append(make("small", "", "yours"));
        return [face, title];
      }, (item) => {
        props.value = item.key;
        describe(item);
        trigger("select", { concept: item.key });
      });
      describe(items.find((item) => item.key === props.value));
      setTimeout(() => window.RudderModel?.estimate(), 60);  // a concept that came from the server fires no event
    }
    draw();
    watch(["value", "items"], draw);
  }

  /* What is known of the prompt in a box: only the model's own lists know anything. */
  function said({ element, props, watch }) {
    const line = element.querySelector(".rd-known");
    const say = () => {
      const prompt = props.value || "";
      const listed = (props.ordinary || []).length + (props.memorized || []).length > 0;
      const kind = (props.memorized || []).includes(prompt) ? "memorised" : (props.ordinary || []).includes(prompt)
        ? "ordinary" : prompt ? "free" : "none";
      line.dataset.kind = kind;
      line.textContent = {
        memorised: "Memorised: in training it always came with the same picture.",
        ordinary: "Ordinary: many pictures fit it.",
        none: "Empty: the model paints what it likes.",
        free: `Your own${listed ? "" : " (nothing is known of this model's training)"}: whether its picture was memorised `
          + "is for the reading under it to say.",
      }[kind];
    };
    say();
    watch("value", say);
  }

  /* [window start, window end, halves] a concept was measured with. */
  function startOf(name) {
    const [window, halves] = starts[name] || [[0.5, 0.95], "both"];
    return [...window, halves];
  }

  /* How many pictures the strip of a concept has; 0 where that is not known. */
  const framesOf = (name) => frames[name] || 0;

  /* What tells a concept from others of its name, "" for one that is not here; and whether it is the visitor's own. */
  const markOf = (name) => known[name]?.mark || "";
  const isOwn = (name) => Boolean(known[name]?.own);

  /* What the concept of a mark is called now: names may change. */
  function named(name, mark) {
    if (!mark || markOf(name) === mark) return name;
    return Object.keys(known).find((one) => known[one].mark === mark) || name;
  }

  return { prompts, concepts, known: said, startOf, framesOf, markOf, isOwn, named };
})();
