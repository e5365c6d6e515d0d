/* What the lab shows: data sets, snapshots and pictures, fetched once each; and a visitor's own picture. */
window.LabData = (() => {
  const { D, halves, network } = window.LabMaths;
  const SIDE = 32;
  const FILE_BYTES = 20 * 2 ** 20;
  const FILE_PIXELS = 60e6;
  const kept = new Map();
  const FOLDER = "dae"; // beside the page, wherever it is served

  function once(name, load) {
    if (!kept.has(name)) {
      const promise = load();
      promise.catch(() => kept.delete(name));
      kept.set(name, promise);
    }
    return kept.get(name);
  }

  async function fetched(name) {
    const reply = await fetch(`${FOLDER}/${name}`);
    if (!reply.ok) throw new Error(`${name} could not be loaded (${reply.status}): reload the page`);
    return reply;
  }

  function index() {
    return once("index", async () => (await fetched("index.json")).json());
  }

  /* A sprite of stacked grey pictures as rows in [-1, 1]. */
  function sprite(name) {
    return once(name, async () => {
      const bitmap = await createImageBitmap(await (await fetched(name)).blob());
      const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
      const brush = canvas.getContext("2d");
      brush.drawImage(bitmap, 0, 0);
      const bytes = brush.getImageData(0, 0, bitmap.width, bitmap.height).data;
      return Array.from({ length: bytes.length / 4 / D }, (_, place) =>
        Float32Array.from({ length: D }, (_, at) => bytes[4 * (place * D + at)] / 127.5 - 1));
    });
  }

  /* {title, classes, mean, train, test, trainLabels, testLabels, count}, pictures as pixels in [-1, 1]. */
  async function dataset(told, name) {
    return once(`set ${name}`, async () => {
      const about = told.datasets[name];
      const [mean, train, test] = await Promise.all([
        fetched(about.mean).then((reply) => reply.arrayBuffer()).then((buffer) => new Float32Array(buffer)),
        sprite(about.train), sprite(about.test)]);
      return { name, title: about.title, classes: about.classes, mean, train, test, count: about.count || 10000,
        trainLabels: about.train_labels, testLabels: about.test_labels };
    });
  }

  function snapshot(state) {
    return once(state.file, async () =>
      network(halves(await (await fetched(state.file)).arrayBuffer()), state.p, state.tied !== false));
  }

  /* The snapshot whose settings are nearest in ratio, by the package's metric (steering/dae/snapshots.py). */
  const WEIGHTS = { n: 1, duplicates: 1, p: 1, sigma: 2, lam: 0.25 };
  const FLOOR = { n: 1, duplicates: 1, p: 1, sigma: 0.01, lam: 1e-4 };

  function nearest(states, dataset, wanted) {
    const far = (state) => Object.keys(WEIGHTS).reduce((sum, key) => sum + WEIGHTS[key]
      * Math.abs(Math.log(Math.max(FLOOR[key], state[key]) / Math.max(FLOOR[key], wanted[key]))), state.tied === false ? 1 : 0);
    return states.filter((state) => state.dataset === dataset)
      .reduce((best, state) => (best && far(best) <= far(state) ? best : state), null);
  }

  const same = (state, wanted) => Object.keys(WEIGHTS).every((key) =>
    Math.abs(state[key] - wanted[key]) <= 1e-6 * Math.abs(state[key]));

  /* The settings a snapshot was trained with. */
  const settingsOf = (state) => Object.fromEntries(Object.keys(WEIGHTS).map((key) => [key, state[key]]));

  const centred = (pixels, mean) => pixels.map((value, at) => value - mean[at]);

  /* Any picture file as 32x32 grey pixels in [-1, 1]: the middle square, halved until it fits. */
  async function decodeFile(file) {
    const name = file.name || "The file";
    if (!file.size) throw new Error(`${name} is empty: choose a picture.`);
    if (file.size > FILE_BYTES) throw new Error(`${name} has ${Math.ceil(file.size / 2 ** 20)} MB, the limit is 20: choose a smaller picture.`);
    let bitmap;
    try {
      bitmap = await createImageBitmap(file);
    } catch {
      throw new Error(`${name} is no picture that this browser can read: choose a PNG, JPEG, WebP or GIF file.`);
    }
    if (bitmap.width * bitmap.height > FILE_PIXELS) {
      throw new Error(`${name} has ${bitmap.width} x ${bitmap.height} pixels, too many: choose a smaller picture.`);
    }
    const edge = Math.min(bitmap.width, bitmap.height);
    let canvas = new OffscreenCanvas(Math.max(SIDE, edge), Math.max(SIDE, edge));
    let brush = canvas.getContext("2d");
    brush.fillRect(0, 0, canvas.width, canvas.height);
    brush.drawImage(bitmap, (bitmap.width - edge) / 2, (bitmap.height - edge) / 2, edge, edge, 0, 0, canvas.width, canvas.height);
    while (canvas.width > SIDE) {
      const size = Math.max(SIDE, canvas.width >> 1);
      const smaller = new OffscreenCanvas(size, size);
      brush = smaller.getContext("2d");
      brush.imageSmoothingQuality = "high";
      brush.drawImage(canvas, 0, 0, size, size);
      canvas = smaller;
    }
    const bytes = brush.getImageData(0, 0, SIDE, SIDE).data;
    return Float32Array.from({ length: D }, (_, at) =>
      (0.299 * bytes[4 * at] + 0.587 * bytes[4 * at + 1] + 0.114 * bytes[4 * at + 2]) / 127.5 - 1);
  }

  function bytesOf(base64) {
    const text = atob(base64.replaceAll("-", "+").replaceAll("_", "/"));
    return Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  }

  /* 1,024 grey levels as text for a link, and back. */
  function packed(pixels) {
    const text = String.fromCharCode(...Array.from(pixels, (value) => Math.round((value + 1) * 127.5)));
    return btoa(text).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  }

  function unpacked(text) {
    const bytes = bytesOf(text);
    if (bytes.length !== D) throw new Error("the link's picture is cut off");
    return Float32Array.from(bytes, (value) => value / 127.5 - 1);
  }

  const streamed = (message) => network(halves(bytesOf(message.weights).buffer), message.p, message.tied);

  return { index, dataset, snapshot, nearest, same, settingsOf, centred, decodeFile, packed, unpacked, streamed };
})();
