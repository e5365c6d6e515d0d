/* The toy network f(x) = W2 [W1' x]_+ on centred 32x32 pictures, in plain numbers. */
window.LabMaths = (() => {
  const D = 1024;

  /* float16, little-endian, to float32. */
  function halves(buffer) {
    const words = new Uint16Array(buffer);
    const out = new Float32Array(words.length);
    for (let at = 0; at < words.length; at += 1) {
      const word = words[at], power = (word >> 10) & 31, rest = word & 1023;
      const size = power === 31 ? (rest ? NaN : Infinity)
        : power ? 2 ** (power - 15) * (1 + rest / 1024) : 2 ** -14 * (rest / 1024);
      out[at] = word & 32768 ? -size : size;
    }
    return out;
  }

  /* Columns of W as rows, the largest first; untied, the decoder's after the encoder's; then each class's mean code. */
  function network(rows, p, tied) {
    const size = p * D * (tied ? 1 : 2);
    if (rows.length < size || (rows.length - size) % p) throw new Error(`a network of ${p} units cannot have ${rows.length} weights`);
    if (!rows.every(Number.isFinite)) throw new Error("a weight is not a number");
    const encoder = rows.subarray(0, p * D);
    const decoder = tied ? encoder : rows.subarray(p * D, size);
    const norms = Float32Array.from({ length: p }, (_, unit) => norm(decoder.subarray(unit * D, (unit + 1) * D)));
    const classes = Array.from({ length: (rows.length - size) / p }, (_, label) => rows.subarray(size + label * p, size + (label + 1) * p));
    return { p, tied, encoder, decoder, norms, classes };
  }

  function dot(one, other) {
    let sum = 0;
    for (let at = 0; at < one.length; at += 1) sum += one[at] * other[at];
    return sum;
  }

  const norm = (x) => Math.sqrt(dot(x, x));
  const column = (net, unit) => net.decoder.subarray(unit * D, (unit + 1) * D);

  function represent(net, x) {
    const h = new Float32Array(net.p);
    for (let unit = 0; unit < net.p; unit += 1) {
      let sum = 0;
      for (let at = 0, from = unit * D; at < D; at += 1) sum += net.encoder[from + at] * x[at];
      h[unit] = sum > 0 ? sum : 0;
    }
    return h;
  }

  function decode(net, h) {
    const x = new Float32Array(D);
    for (let unit = 0; unit < net.p; unit += 1) {
      const much = h[unit];
      if (!much) continue;
      for (let at = 0, from = unit * D; at < D; at += 1) x[at] += much * net.decoder[from + at];
    }
    return x;
  }

  const denoise = (net, x) => decode(net, represent(net, x));

  /* Seeded standard normal numbers: mulberry32 through Box and Muller. */
  function normals(seed, count) {
    let state = seed >>> 0;
    const uniform = () => {
      state = (state + 0x6d2b79f5) >>> 0;
      let t = Math.imul(state ^ (state >>> 15), 1 | state);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
    return Float32Array.from({ length: count },
      () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()));
  }

  function noisy(x, sigma, seed) {
    const eps = normals(seed, D);
    return x.map((value, at) => value + sigma * eps[at]);
  }

  /* Population standard deviation over the units: the paper's spikiness. */
  function std(h) {
    let sum = 0, squares = 0;
    for (const value of h) { sum += value; squares += value * value; }
    return Math.sqrt(Math.max(0, squares / h.length - (sum / h.length) ** 2));
  }

  function shares(h) {
    const whole = dot(h, h) || 1;
    return Float32Array.from(h, (value) => (value * value) / whole);
  }

  /* As strong as h: strength 1 adds, over all passes, as much as the picture itself has. */
  function matched(v, h) {
    const length = norm(v);
    return length > 1e-9 ? v.map((value) => (value * norm(h)) / length) : v.slice();
  }

  const steeredPasses = (passes) => Math.ceil(0.75 * passes);

  /* `passes` denoisings of z, the edit a v shared out over the first three quarters; pixels stay pixels. */
  function steer(net, z, v, a, passes, average) {
    const first = steeredPasses(passes);
    let x = z;
    for (let pass = 0; pass < passes; pass += 1) {
      const h = represent(net, x);
      if (pass < first) for (let unit = 0; unit < net.p; unit += 1) h[unit] += (a / first) * v[unit];
      x = decode(net, h);
      for (let at = 0; at < D; at += 1) x[at] = Math.min(1 - average[at], Math.max(-1 - average[at], x[at]));
    }
    return x;
  }

  /* Root mean square difference in grey levels of 255. */
  function moved(x, y) {
    let sum = 0;
    for (let at = 0; at < D; at += 1) sum += (x[at] - y[at]) ** 2;
    return 127.5 * Math.sqrt(sum / D);
  }

  function psnr(x, clean) {
    return 20 * Math.log10(255 / Math.max(1e-4, moved(x, clean)));
  }

  /* Singular values of the Jacobian W2 diag(fires) W1', from the units that fire. */
  function jacobian(net, x) {
    const on = [];
    for (let unit = 0; unit < net.p; unit += 1) if (dot(net.encoder.subarray(unit * D, (unit + 1) * D), x) > 0) on.push(unit);
    const gram = (rows) => on.map((i) => on.map((j) => dot(rows.subarray(i * D, (i + 1) * D), rows.subarray(j * D, (j + 1) * D))));
    if (net.tied) return eigenvalues(gram(net.decoder)).map((value) => Math.max(0, value)).sort((a, b) => b - a);
    /* sigma^2 are the eigenvalues of E^(1/2) D E^(1/2), those of L' D L with E = L L'. */
    const lower = cholesky(gram(net.encoder)), right = gram(net.decoder), size = on.length;
    const half = lower.map((_, i) => right.map((_, j) => right[i].reduce((sum, value, k) => sum + value * lower[k][j], 0)));
    const whole = lower.map((_, i) => half.map((_, j) => half.reduce((sum, row, k) => sum + lower[k][i] * row[j], 0)));
    return eigenvalues(whole.slice(0, size)).map((value) => Math.sqrt(Math.max(0, value))).sort((a, b) => b - a);
  }

  function cholesky(matrix) {
    const lower = matrix.map((row) => row.map(() => 0));
    for (let i = 0; i < matrix.length; i += 1) {
      for (let j = 0; j <= i; j += 1) {
        let sum = matrix[i][j];
        for (let k = 0; k < j; k += 1) sum -= lower[i][k] * lower[j][k];
        lower[i][j] = i === j ? Math.sqrt(Math.max(1e-12, sum)) : sum / lower[j][j];
      }
    }
    return lower;
  }

  /* Cyclic Jacobi rotations on a symmetric matrix. */
  function eigenvalues(matrix) {
    const a = matrix.map((row) => Float64Array.from(row));
    const size = a.length;
    for (let sweep = 0; sweep < 12; sweep += 1) {
      let off = 0;
      for (let i = 0; i < size; i += 1) for (let j = 0; j < i; j += 1) off += a[i][j] ** 2;
      if (off < 1e-9) break;
      for (let i = 0; i < size; i += 1) {
        for (let j = i + 1; j < size; j += 1) {
          if (Math.abs(a[i][j]) < 1e-9) continue;
          const turn = (a[j][j] - a[i][i]) / (2 * a[i][j]);
          const t = (turn >= 0 ? 1 : -1) / (Math.abs(turn) + Math.sqrt(turn * turn + 1));
          const c = 1 / Math.sqrt(t * t + 1), s = t * c;
          for (let k = 0; k < size; k += 1) { const x = a[k][i], y = a[k][j]; a[k][i] = c * x - s * y; a[k][j] = s * x + c * y; }
          for (let k = 0; k < size; k += 1) { const x = a[i][k], y = a[j][k]; a[i][k] = c * x - s * y; a[j][k] = s * x + c * y; }
        }
      }
    }
    return a.map((row, place) => row[place]);
  }

  /* exp of the entropy of the normalised singular values: how many directions the denoiser passes on. */
  function effectiveRank(values) {
    const sum = values.reduce((total, value) => total + value, 0);
    if (!sum) return 0;
    return Math.exp(values.reduce((total, value) => (value > 1e-12 * sum ? total - (value / sum) * Math.log(value / sum) : total), 0));
  }

  return { D, halves, network, dot, norm, column, represent, decode, denoise, noisy, std, shares, matched,
    steer, steeredPasses, moved, psnr, jacobian, effectiveRank };
})();
