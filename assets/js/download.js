/* Download: a small picture enlarged by whole pixels to at least 512, its recipe (and own vector) taken along. */
window.RudderDownload = (() => {
  const least = 512;
  const most = 16; // times, as steering/images.py undoes it
  const carried = ["iTXt", "ruVc"];

  /* A PNG's chunks: {name, start, end}, the length, name and checksum included. */
  function chunks(bytes) {
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const found = [];
    for (let at = 8; at + 12 <= bytes.length;) {
      const end = at + 12 + view.getUint32(at);
      found.push({ name: String.fromCharCode(...bytes.subarray(at + 4, at + 8)), start: at, end });
      at = end;
    }
    return found;
  }

  async function enlarged(source) {
    const bytes = new Uint8Array(await (await fetch(source)).arrayBuffer());
    const image = await createImageBitmap(new Blob([bytes], { type: "image/png" }));
    const times = Math.min(most, Math.ceil(least / Math.min(image.width, image.height)));
    if (times < 2) return new Blob([bytes], { type: "image/png" });
    const canvas = Object.assign(document.createElement("canvas"),
      { width: times * image.width, height: times * image.height });
    const brush = canvas.getContext("2d");
    brush.imageSmoothingEnabled = false;
    brush.drawImage(image, 0, 0, canvas.width, canvas.height);
    const blob = await new Promise((done) => { canvas.toBlob(done, "image/png"); });
    const large = new Uint8Array(await blob.arrayBuffer());
    const extra = chunks(bytes).filter((one) => carried.includes(one.name))
      .map((one) => bytes.subarray(one.start, one.end));
    const head = chunks(large)[0].end;
    return new Blob([large.subarray(0, head), ...extra, large.subarray(head)], { type: "image/png" });
  }

  async function save(source, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await enlarged(source));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  }

  return { save };
})();
