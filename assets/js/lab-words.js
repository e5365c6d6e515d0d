/* The lab's explanations: one short text a figure, unfolding to the theorem, its formula in MathML. */
window.LabWords = (() => {
  const i = (name) => `<mi>${name}</mi>`;
  const o = (sign) => `<mo${"()[]‖|".includes(sign) ? ' stretchy="false" lspace="0" rspace="0"' : ""}>${sign}</mo>`;
  const n = (value) => `<mn>${value}</mn>`;
  const row = (...parts) => `<mrow>${parts.join("")}</mrow>`;
  const sub = (base, under) => `<msub>${base}${under}</msub>`;
  const sup = (base, over) => `<msup>${base}${over}</msup>`;
  const both = (base, under, over) => `<msubsup>${base}${under}${over}</msubsup>`;
  const over = (top, bottom) => `<mfrac>${top}${bottom}</mfrac>`;
  const root = (...parts) => `<msqrt>${parts.join("")}</msqrt>`;
  const relu = (...parts) => sub(row(o("["), ...parts, o("]")), o("+"));
  const length2 = (...parts) => sup(row(o("‖"), ...parts, o("‖")), n(2));
  const x = i("x"), W = i("W"), h = i("h"), lambda = i("λ"), sigma2 = sup(i("σ"), n(2));
  const Wt = sup(W, i("⊤")), xi = sub(x, i("i")), S = sub(i("S"), i("k")), one = i("I");
  const math = (...parts) => `<math display="block">${row(...parts)}</math>`;

  const network = math(i("f"), o("("), x, o(")"), o("="), W, h, o("("), x, o(")"), o(","), `<mspace width="1em"/>`,
    h, o("("), x, o(")"), o("="), relu(Wt, x));
  const loss = math(over(n(1), i("n")), `<munder>${o("∑")}${i("i")}</munder>`, i("E"), length2(i("f"), o("("), xi, o("+"), i("σ"),
    i("ε"), o(")"), o("−"), xi), o("+"), n(2), lambda, both(row(o("‖"), W, o("‖")), i("F"), n(2)));
  const stored = math(W, o("="), o("("), sub(i("r"), n(1)), sub(x, n(1)), o(","), o("…"), o(","), sub(i("r"), i("n")), sub(x, i("n")),
    o(","), n(0), o(","), o("…"), o(","), n(0), o(")"), o(","), `<mspace width="1em"/>`, sub(i("r"), i("i")), o("="),
    root(over(row(length2(xi), o("−"), i("n"), lambda), row(sup(row(o("‖"), xi, o("‖")), n(4)), o("+"), sigma2, length2(xi)))));
  const local = math(sub(W, i("k")), both(W, i("k"), i("⊤")), o("→"), `<mtext>rank&nbsp;</mtext>`, sub(i("p"), i("k")),
    `<mtext>&nbsp;part of&nbsp;</mtext>`, o("("), S, o("−"), over(lambda, sub(i("ρ"), i("k"))), one, o(")"),
    sup(row(o("("), S, o("+"), sigma2, one, o(")")), row(o("−"), n(1))));
  const block = math(sub(W, i("k")), o("="), sub(i("U"), i("k")), sup(row(o("("), one, o("+"), sub(i("n"), i("k")), sigma2,
    both(i("Λ"), i("k"), row(o("−"), n(1))), o(")")), row(o("−"), n("½"))), sup(row(o("("), one, o("−"), i("n"), lambda,
    both(i("Λ"), i("k"), row(o("−"), n(1))), o(")")), n("½")), both(i("O"), i("k"), i("⊤")));
  const spread = math(`<mtext>std</mtext>`, o("("), h, o(")"), o("="), root(over(n(1), i("p")), `<munder>${o("∑")}${i("j")}</munder>`,
    sup(row(o("("), sub(h, i("j")), o("−"), `<mover>${h}${o("¯")}</mover>`, o(")")), n(2))));
  const pass = math(x, o("←"), `<mtext>clip</mtext>`, o("("), W, o("("), relu(Wt, x), o("+"), over(i("a"), i("m")), i("v"), o(")"), o(")"));
  const wall = math(sub(h, i("j")), o("="), relu(sub(i("c"), i("j")), o("−"), o("|"), i("β"), o("|"), sub(i("c"), i("i"))));
  const jacobian = math(i("J"), o("="), W, `<mtext>diag</mtext>`, o("("), Wt, x, o("&gt;"), n(0), o(")"), Wt);

  const fold = (title, ...parts) => `<details class="rd-lab-fold"><summary>${title}</summary>${parts.join("")}</details>`;
  const p = (text) => `<p>${text}</p>`;
  const here = (name) => `<p class="rd-lab-here" data-here="${name}"></p>`;  // what it is in the case at hand, filled in when measured

  const columns = {
    stored: fold("Corollary 3.2: when the columns are the training pictures", p("With a unit to spare for every picture (p ≥ n) and "
      + "pictures far apart, a minimiser of the loss stores each picture x<sub>i</sub> in one column and leaves the rest empty:"), stored,
    p("So each picture's column has cosine 1 with it. n λ must stay below ‖x<sub>i</sub>‖², the smallest eigenvalue kept.")),
    local: fold("Corollary 3.3: when the columns are directions of local statistics", p("With far more pictures than units "
      + "(p ≪ n), cluster k's block of columns spans the leading directions of its second moment "
      + "S<sub>k</sub> = μ<sub>k</sub> μ<sub>k</sub><sup>⊤</sup> + Σ<sub>k</sub>:"), local,
    p("Which columns span them is free (any rotation), so no column need look like a picture.")),
  };
  /* The theorems that speak of what a network stores: one for each clear regime, both for what lies between. */
  const store = (regime) => (regime === "memorises" ? columns.stored : regime === "generalises" ? columns.local : columns.stored + columns.local);
  const flow = fold("Theorem 3.1: blocks of units, one for each cluster", network, loss, p("A local minimiser is made of one block for "
    + "each cluster of pictures, from the leading eigenpairs of its Gram matrix (X<sub>k</sub> X<sub>k</sub><sup>⊤</sup> = "
    + "U<sub>k</sub> Λ<sub>k</sub> U<sub>k</sub><sup>⊤</sup>):"), block, p("A picture wakes only its own cluster's block. A cluster of one "
    + "picture has a block of one unit: a nearly one-hot representation, with a high spread. A cluster of many pictures shares a block of "
    + "p<sub>k</sub> units, over which a picture's energy spreads: a balanced one, with a low spread."), spread, here("code"));
  const fired = fold("The Jacobian: which directions come through", jacobian, p("Only what lies along the units that fire gets through "
    + "one pass; whatever an edit adds elsewhere is removed."), here("kept"));
  const steering = fold("How the edit is made, and where the hold comes from", p("The concept v is this network's mean representation of the "
    + "class's first 200 training pictures, brought to the length of the picture's own representation. In the first m of K passes (three "
    + "quarters of them) a share a/m of it is added; the last quarter only denoises. Pixels are clipped to the range of a picture."),
  pass, p("Say unit i holds the picture on show and unit j another one, their cosine β being negative, as "
    + "the theorem assumes. With amounts c<sub>i</sub> of the shown picture and c<sub>j</sub> of the other,"), wall,
  p("so a push of a v<sub>j</sub>/m is erased by the next pass until it outweighs |β| c<sub>i</sub>; past that it grows from "
    + "pass to pass and takes over. With one pass (K = 1) nothing is erased, and a network answers in proportion as far as pixels reach: move the passes and see."));
  const numbers = fold("How each number is computed", p("<b>length</b> ‖w<sub>j</sub>‖ of a column; <b>cos</b> its largest cosine to a "
    + "training picture minus the mean picture. Columns are drawn at the length of an average picture with the mean picture added back. "
    + "<b>std</b> population standard deviation of the p activations; <b>energy</b> h<sub>j</sub>² over the sum. "
    + "<b>PSNR</b> against the picture before noise, peak 255. <b>directions that pass</b> the effective rank, exp of the entropy, of the Jacobian's singular values. "
    + "<b>moved</b> root mean square difference, in grey levels of 255, from the same passes at strength 0. <b>a weak push, a pass "
    + "leaves</b> ‖J W v‖ over ‖W v‖ at the picture that comes back at strength 0; <b>spread over</b> exp of the entropy of the units' energies. A network <b>resists</b> when its "
    + "picture hardly moves, or has gone less than a tenth of its way at an eighth of the slider. A snapshot's and a trained network's lengths "
    + "and cosines were measured where it was trained, over all its pictures; the rest is computed in this browser."));

  return { store, flow, fired, steering, numbers };
})();
