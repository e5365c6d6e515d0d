/* A file dropped where nothing else takes it: it is taken where that is plain, or refused with a word. A browser by
   itself would open it in the page's place. */
(() => {
  const PICTURE = /\.(png|jpe?g)$/i;
  const hasFiles = (event) => [...(event.dataTransfer?.types || [])].includes("Files");
  const shown = (selector) => !!document.querySelector(selector)?.offsetParent;

  function refusal(files) {
    if (!document.querySelector(".rd-notice")) return ""; // the door: the page is not there yet
    if (shown("#rd-audit")) return "The Audit tab has its files already: clear them, then drop the next.";
    if (files.some((file) => /\.(zip|rar|7z|tar|gz)$/i.test(file.name)) || files.length > 1) {
      return "Several pictures or a zip could be a set or a list: drop them on “Pictures or a zip” under “Your own set”, or in the Audit tab.";
    }
    return `Nothing here takes ${files[0]?.name || "that"}: drop a picture that Rudder made, a .safetensors vector, or on a reading a picture to score.`;
  }

  function taken(files) {
    if (shown("#rd-audit-source")) return Rudder.choose("", files, "#rd-audit-source");
    if (files.length !== 1) return false;
    if (/\.safetensors$/i.test(files[0].name)) return Rudder.choose("#rd-open-vector", files);
    return PICTURE.test(files[0].name) && Rudder.choose("#rd-open", files);
  }

  addEventListener("dragover", (event) => {
    if (hasFiles(event) && !event.defaultPrevented) event.preventDefault();
  });
  addEventListener("drop", (event) => {
    if (!hasFiles(event) || event.defaultPrevented) return;
    event.preventDefault();
    const files = [...event.dataTransfer.files];
    if (!taken(files)) Rudder.notify({ text: refusal(files), kind: "error" });
  });
})();
