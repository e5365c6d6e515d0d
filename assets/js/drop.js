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
      return "Several pictures or a zip could be a set or a list: drop them where the Concepts tab takes pictures, or in the Audit tab.";
    }
    return `Nothing here takes ${files[0]?.name || "that"}: drop a picture that Rudder made, a .safetensors vector, or on a reading a picture to score.`;
  }

  function taken(files) {
    if (shown("#rd-audit-source")) return Rudder.choose("", files, "#rd-audit-source");
    if (files.length !== 1) return false;
    if (/\.safetensors$/i.test(files[0].name)) return vector(files);
    return PICTURE.test(files[0].name) && Rudder.choose("#rd-open", files);
  }

  /* Its button is there once the fold around it is open. */
  function vector(files) {
    const button = "#rd-open-vector";
    if (Rudder.choose(button, files)) return true;
    RudderConcepts.open("File");
    let tries = 30;
    const again = () => {
      if (Rudder.choose(button, files)) return;
      if (tries-- > 0) setTimeout(again, 100);
      else Rudder.notify({ text: refusal(files), kind: "error" });
    };
    again();
    return true;
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
