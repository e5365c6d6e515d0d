/* The concepts that a tab's controls name. Names may change and mean another concept elsewhere, so what is kept goes with
   marks: what the server says of each that tells it from others. */
window.RudderMarks = (() => {
  /* By a part's key: its value with every name replaced by what `to` says of it. */
  const kinds = {
    concept: (value, to) => (value ? to(value) : value),
    card: (value, to) => (value ? to(value) : value),
    rows(value, to, at) {
      if (at("axis") !== "concept" || !value) return value;
      const names = value.split(",").map((one) => one.trim()).filter(Boolean), next = names.map(to);
      return next.every((one, place) => one === names[place]) ? value : next.join(", ");
    },
    bench(value, to) {
      const told = JSON.parse(value);
      const concepts = (told.recipe.concepts || []).map(([name, strength]) => [to(name), strength]);
      return JSON.stringify({ ...told, recipe: { ...told.recipe, concepts } });
    },
  };

  /* A part's values with its concepts called otherwise. */
  function mapped(part, values, to) {
    const at = (key) => values[part.keys.indexOf(key)];
    return values.map((value, place) => kinds[part.keys[place]]?.(value, to, at) ?? value);
  }

  function names(part, values) {
    const found = new Set();
    mapped(part, values, (name) => { found.add(name); return name; });
    return [...found];
  }

  /* {name: mark} of those that have one. */
  const of = (some) => Object.fromEntries(some.map((name) => [name, RudderPickers.markOf(name)]).filter(([, mark]) => mark));

  /* As a link says it: a line "MARK NAME" each. */
  const told = (marks) => Object.entries(marks).map(([name, mark]) => `${mark} ${name}`).join("\n");

  return { mapped, names, of, told };
})();
