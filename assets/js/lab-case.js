/* The case at hand: what one network does with the picture on show, measured, and the sentences that say it. */
window.LabCase = (() => {
  const Maths = window.LabMaths;
  const SPIKY = 0.5;        // share of the energy on one unit
  const RETURNED = 0.8;     // cosine of what comes back with what went in
  const STILL = 6;          // grey levels that nobody sees
  const HOLDS = 0.12, SUDDEN = 0.35;  // of the slider's length
  const OUTLIVES = 0.5;     // share of a weak push that a pass leaves
  const TURNS = 0.1;        // of cosine with the concept
  const SEPARATED = -0.05, REPEATED = 2, SAME = 1;

  const cosine = (x, y) => Maths.dot(x, y) / (Maths.norm(x) * Maths.norm(y) || 1);
  const percent = (share) => `${share >= 0.995 ? 100 : share > 0 && share < 0.095 ? (100 * share).toFixed(1) : Math.round(100 * share)} %`;

  /* "silent", "spiky" or "balanced"; the strongest unit's share; how many units share the energy, exp of its entropy. */
  function codeOf(h) {
    const shares = Maths.shares(h), top = Math.max(...shares);
    const units = Math.exp(shares.reduce((sum, share) => (share > 0 ? sum - share * Math.log(share) : sum), 0));
    const silent = Maths.norm(h) < 1e-6;
    return { kind: silent ? "silent" : top > SPIKY ? "spiky" : "balanced", top: silent ? 0 : top, units: silent ? 0 : units };
  }

  /* The share of a weak push v that one more pass leaves around x: ||J W v|| / ||W v||. */
  function keptOf(net, x, v) {
    const push = Maths.decode(net, v), fires = Maths.represent(net, x), length = Maths.norm(push);
    if (length < 1e-9) return 0;
    const passed = new Float32Array(net.p);
    for (let unit = 0; unit < net.p; unit += 1) {
      if (fires[unit] > 0) passed[unit] = Maths.dot(net.encoder.subarray(unit * Maths.D, (unit + 1) * Maths.D), push);
    }
    return Maths.norm(Maths.decode(net, passed)) / length;
  }

  /* How a response curve [[strength, moved], ...] goes: where it has gone 10 % and 90 % of its way, and in which words. */
  function answerOf(points) {
    const top = Math.max(...points.map((point) => point[1])), last = points[points.length - 1];
    const cross = (share) => {
      for (let at = 1; at < points.length; at += 1) {
        const [a, low] = points[at - 1], [b, high] = points[at];
        if (high >= share * top) return a + ((b - a) * Math.max(0, share * top - low)) / (high - low || 1);
      }
      return last[0];
    };
    const start = cross(0.1), end = cross(0.9);
    const holds = start > HOLDS * last[0], sudden = end - start <= SUDDEN * last[0];
    const word = top < STILL ? "inert" : holds ? (sudden ? "jumps" : "late") : sudden ? "at once" : "gradual";
    return { top, start, end, word, resists: word === "inert" || holds, falls: word !== "inert" && last[1] < 0.8 * top };
  }

  /* Everything the sentences say of one network. `points` its response curve, `made` its picture at the furthest strength. */
  function measure({ net, clean, h, v, base, made, points, passes }) {
    const concept = Maths.decode(net, v);
    return {
      code: codeOf(h), after: codeOf(Maths.represent(net, base)), back: cosine(base, clean), kept: keptOf(net, base, v),
      pushes: Maths.norm(v) > 1e-9, followed: Maths.steeredPasses(passes) < passes, passes, answer: answerOf(points),
      turn: cosine(made, concept) - cosine(base, concept),
    };
  }

  const spread = ({ kind, top, units }) => (kind === "silent" ? "wakes no unit" : kind === "spiky"
    ? `sits on one unit (${percent(top)} of its energy)` : `is spread over about ${Math.max(2, Math.round(units))} units`);

  /* How it answers. */
  function told({ word, start, end, falls }) {
    const [from, to] = [start.toFixed(1), end.toFixed(1)];
    const way = {
      inert: "hardly moves", jumps: `holds until ${from}, has jumped by ${to}`, late: `holds until ${from}, then moves bit by bit to ${to}`,
      "at once": `gives way at once, by ${to}`, gradual: `moves from ${from} on, bit by bit, to ${to}`,
    }[word];
    return falls ? `${way}, and comes part of the way back` : way;
  }

  /* One network's case in one sentence or two: its code, whether it comes back, how it answers and what of a push stays. */
  function sentence(word, facts) {
    const { code, after, back, kept, answer } = facts;
    if (code.kind === "silent") return `${word}: this picture wakes no unit, so there is nothing to steer.`;
    const returned = back >= RETURNED;
    const usual = (returned ? code : after).kind === (answer.resists ? "spiky" : "balanced");
    const lost = returned ? "" : ` and is not returned: the passes make another of it, which ${spread(after)}`;
    const start = `${word}: the picture ${spread(code)}${lost}`;
    if (!facts.pushes) return `${start}; the concept wakes no unit here, so nothing is pushed.`;
    return `${start}${usual ? "; it" : ", and yet it"} ${told(answer)}${because(facts, kept >= OUTLIVES)}${aim(facts)}.`;
  }

  function because({ kept, followed, passes, answer }, stays) {
    if (!followed) return ` (with ${passes === 1 ? "one pass" : `${passes} passes`} nothing follows the last push)`;
    return ` (${stays === answer.resists ? "though " : ""}a pass leaves ${percent(kept)} of a weak push)`;
  }

  const aim = ({ turn, answer }) => (answer.word === "inert" ? "" : turn > TURNS ? "" : turn < -TURNS ? ", away from the concept"
    : ", hardly towards the concept");

  /* Which of the two resists, in one clause. */
  function verdict(mem, gen) {
    if (mem.code.kind === "silent" || gen.code.kind === "silent") return "Here not both can be steered.";
    const [left, right] = [mem.answer.resists, gen.answer.resists];
    if (left && right) return "Here both networks resist.";
    if (!left && !right) return "Here neither network resists.";
    return `Here the ${left ? "left" : "right"} network resists, the ${left ? "right" : "left"} one yields.`;
  }

  const count = (many) => `${many.toLocaleString("en")} picture${many === 1 ? "" : "s"}`;

  /* What the room is about. `came` is "mem" or "gen" for a visitor who came from a reading; facts may still be missing. */
  function lede(counts, came, facts) {
    const [left, right] = counts;
    const task = "Push the same picture towards the same concept in both, and see which of them answers.";
    if (!came || !facts) {
      return `Two small networks learned to remove noise, ${left === right ? `both from ${count(left)}` : `one from ${count(left)}, one from ${
        count(right)}`}. ${task}`;
    }
    const kind = came === "mem" ? "spiky" : "balanced", [one, other] = facts.map((side) => side.code.kind === kind);
    const where = one && other ? "in both networks" : one ? "in the network on the left" : other ? "in the network on the right" : "in neither network";
    return `The code of the picture you came from is ${kind}; the toy picture on show has such a code ${where}. ${task}`;
  }

  /* Whether a network with these settings had training picture `place` of the set, as steering/dae/data.py chooses. */
  function knows(set, { n, duplicates = 1 }, place) {
    if (place >= n) return false;
    if (duplicates === 1 || place < REPEATED) return true;
    const centred = (at) => set.train[at].map((value, pixel) => value - set.mean[pixel]);
    return [0, 1].every((first) => cosine(centred(place), centred(first)) < SEPARATED);
  }

  /* Where the picture on show comes from and which networks learned from it; `settings` are those of left and right. */
  function source(set, picture, settings) {
    const same = picture.kind === "train" ? picture.place
      : set.train.findIndex((pixels) => Maths.moved(pixels, picture.pixels) < SAME);
    const title = { own: picture.name, train: `Training picture ${picture.place + 1}, ${picture.name}`,
      test: `Test picture ${picture.place + 1}, ${picture.name}` }[picture.kind];
    if (same < 0) return `${title}: neither network was trained on it.`;
    const [left, right] = settings.map((one) => knows(set, one, same));
    const among = (one) => (one.duplicates > 1 ? same < REPEATED ? `, ${one.duplicates} times` : "" : `, one of ${one.n.toLocaleString("en")}`);
    const who = [left && `the left network${among(settings[0])}`, right && `the right network${among(settings[1])}`].filter(Boolean);
    const as = picture.kind === "train" ? "" : `, the same as training picture ${same + 1}`;
    return `${title}${as}: ${who.length ? `known to ${who.join("; and to ")}` : "neither network was trained on it"}.`;
  }

  return { SPIKY, codeOf, keptOf, answerOf, measure, sentence, told, verdict, lede, knows, source, spread, percent };
})();
