/* The two networks of the lab: which snapshot each shows, its knobs, its training and what can be undone. */
window.LabSides = (() => {
  const Maths = window.LabMaths, Data = window.LabData;
  const WORDS = { memorises: "Memorises", generalises: "Generalises", hybrid: "Does both", between: "In between" };

  /* `lab` holds {told, set, length}; `renew` redraws all that hangs on a network. */
  function govern(lab, { trigger, renew, known, lost }) {
    const sides = lab.sides;
    const all = () => Object.values(sides);
    let waiting = [];

    /* A side shows a snapshot {entry, net, wanted} or a trained network {net, wanted, columns, regime, note}. */
    function adopt(side, shown) {
      side.shown = shown;
      const settings = shown.entry || shown.wanted;
      side.sigma = settings.sigma;
      side.settings = settings;
      side.columns = shown.columns || columnsOf(shown.entry) || lookup(shown.net, settings.n);
      const regime = shown.regime || shown.entry?.regime || "between";
      side.word = WORDS[regime];
      side.panel.settings(shown.wanted, lab.set.count);
      side.panel.title(side.word, settings, regime);
      side.figure.querySelector(".rd-tag").textContent = side.word;
      side.panel.columns(shown.net, lab.set, lab.length, side.columns);
      side.panel.phase("idle", side.past.length > 0);
      if (!shown.note) { side.losses = []; side.panel.loss([]); }
      say(side);
      known();
    }

    /* [length, cosine to the nearest of all its training pictures], as the package measured them. */
    function columnsOf(entry) {
      const { largest_columns_norm: sizes, largest_columns_cosine: cosines } = entry?.numbers || {};
      return sizes && cosines ? sizes.map((size, unit) => [size, cosines[unit]]) : null;
    }

    /* Without the package's numbers: cosines to the training pictures at hand. */
    function lookup(net, n) {
      const near = lab.set.train.slice(0, n).map((pixels) => Data.centred(pixels, lab.set.mean));
      return Array.from({ length: Math.min(net.p, 8) }, (_, unit) => {
        const w = Maths.column(net, unit), size = net.norms[unit];
        return [size, Math.max(0, ...near.map((x) => Maths.dot(w, x) / (size * Maths.norm(x) || 1)))];
      });
    }

    function say(side) {
      const { entry, wanted, note } = side.shown;
      if (note) { side.panel.say(note); return; }
      const warning = condition(wanted), exact = Data.same(entry, wanted);
      const shown = exact ? "A snapshot, trained with exactly these settings."
        : `Shown is the nearest snapshot: n ${entry.n.toLocaleString("en")}, p ${entry.p}, σ ${entry.sigma}, λ ${entry.lam}`
          + `${entry.duplicates > 1 ? `, copies ${entry.duplicates}` : ""}. Train live for yours.`;
      side.panel.say(warning ? `${warning} ${shown}` : shown, warning ? "is-warning" : exact ? "" : "is-near");
    }

    /* The theorem asks for n lambda below the smallest eigenvalue kept: the shortest picture's, when each is its own cluster. */
    function condition({ n, lam, p, duplicates }) {
      if (n > lab.set.train.length || n > p) return "";
      const squares = lab.set.train.slice(0, n).map((pixels, at) =>
        (at < 2 ? duplicates : 1) * Maths.norm(Data.centred(pixels, lab.set.mean)) ** 2);
      const decay = (n + Math.min(n, 2) * (duplicates - 1)) * lam, least = Math.min(...squares);
      if (decay < least) return "";
      return `n λ = ${Number(decay.toPrecision(3))} is above the smallest eigenvalue, ‖x‖² = ${least.toFixed(0)}: the theorem's condition `
        + "fails, so training with these settings wipes that picture out.";
    }

    /* Values a knob's arrow keys go through: those of the snapshots along it; where it has but one, round numbers. */
    function useful(side, { key, low, high }) {
      const near = Data.settingsOf(Data.nearest(lab.told.states, lab.set.name, side.shown.wanted));
      const along = lab.told.states.filter((state) => state.dataset === lab.set.name && state.tied !== false
        && Data.same(state, { ...near, [key]: state[key] })).map((state) => state[key]);
      const most = key === "n" ? lab.set.count : high;
      if (new Set(along).size > 1) return [...new Set(along)];
      const tens = Array.from({ length: 12 }, (_, place) => 10 ** (place - 6));
      return tens.flatMap((ten) => [1, 2, 5].map((digit) => Number((digit * ten).toPrecision(1)))).filter((one) => one >= low && one <= most);
    }

    function turned(side, key, value) {
      stop(side);
      if (side.turning !== key) { side.past.push(side.shown); side.turning = key; }
      const wanted = { ...side.shown.wanted, [key]: value };
      const entry = Data.nearest(lab.told.states, lab.set.name, wanted);
      const turn = (side.turn = (side.turn || 0) + 1);
      Data.snapshot(entry).then((net) => {
        if (turn !== side.turn) return;
        const again = side.shown.net === net;
        adopt(side, { entry, wanted, net });
        if (!again) renew();
      }).catch(lost);
    }

    function undo(side) {
      stop(side);
      side.turning = null;
      if (!side.past.length) return;
      const had = side.past.pop();
      adopt(side, had);
      renew();
    }

    /* Train live: streamed through the queue; what came last stays when it is stopped. */
    function train(side, seed) {
      for (const one of all()) stop(one);
      side.turning = null;
      side.training = true;
      side.ticket = Date.now();
      side.losses = [];
      side.kept = side.shown;
      side.panel.phase("training", false);
      side.panel.say("Waiting for the server …");
      window.Rudder.quiet();
      trigger("train", { ticket: side.ticket, side: side.id, settings: { ...side.shown.wanted, dataset: lab.set.name, seed } });
    }

    /* A link's networks, one after the other: [[side, seed], ...]. Stopping one stops all. */
    function again(asked) {
      waiting = asked.slice(1);
      if (asked.length) train(...asked[0]);
    }

    function stop(side) {
      if (!side.training) return;
      side.training = false;
      waiting = [];
      trigger("halt", { ticket: side.ticket });
      settle(side, side.step ? `Stopped at step ${side.step.toLocaleString("en")}: half-trained, as shown.` : "");
    }

    function settle(side, note) {
      side.training = false;
      const shown = side.shown;
      if (shown !== side.kept) side.past.push(side.kept);
      adopt(side, shown === side.kept ? shown : { ...shown, note });
      side.step = 0;
    }

    function apply(message) {
      const side = sides[message?.side];
      if (!side || !side.training || message.ticket !== side.ticket) return;
      if (message.phase === "failed") { side.shown = side.kept; settle(side, ""); renew(); return; }
      if (message.text) side.panel.say(message.text, message.kind || "");
      if (!message.weights) return;
      try {
        const net = Data.streamed(message);
        side.step = message.step;
        side.losses.push(message.loss);
        side.shown = { net, wanted: side.kept.wanted, columns: message.columns, regime: message.regime, note: message.text,
          seed: message.seed, whole: message.whole };
        side.columns = message.columns;
        side.sigma = side.shown.wanted.sigma;
        side.settings = side.shown.wanted;
      } catch (wrong) { lost(wrong); side.shown = side.kept; settle(side, ""); return; }
      side.panel.loss(side.losses);
      if (message.phase === "done") { settle(side, message.text); side.panel.loss(side.losses); again(waiting); }
      else { side.panel.title("Learning", side.shown.wanted, message.regime); side.panel.columns(side.shown.net, lab.set, lab.length, message.columns); }
      renew();
    }

    return { adopt, useful, turned, undo, train, again, stop, apply };
  }

  return { govern };
})();
