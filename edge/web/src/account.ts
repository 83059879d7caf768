// The account page: the picture; its forms are those of every page.

import { insist } from "./api";
import { explain, refresh, toast } from "./site";

// Larger than any picture of a phone; what is sent is made small first.
const LARGEST = 50 << 20;
const SIDE = 640;

/** The middle of a picture as a small JPEG: the service takes no large ones, and needs none. */
async function small(file: File): Promise<Blob> {
  const picture = await createImageBitmap(file);
  const side = Math.min(picture.width, picture.height);
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = Math.min(side, SIDE);
  const context = canvas.getContext("2d");
  if (!context || !side) throw new Error("no picture");
  context.fillStyle = "#fff";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.imageSmoothingQuality = "high";
  context.drawImage(picture, (picture.width - side) / 2, (picture.height - side) / 2, side, side, 0, 0, canvas.width, canvas.height);
  picture.close();
  return new Promise((resolve, reject) => canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("no picture"))), "image/jpeg", 0.92));
}

class AccountElement extends HTMLElement {
  connectedCallback(): void {
    const input = this.querySelector<HTMLInputElement>("[data-picture]");
    input?.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = "";
      if (!file) return;
      if (file.size > LARGEST) return toast("That picture is larger than 50 MB. Choose a smaller one.");
      void small(file).then(
        (body) => insist("/me/picture", { method: "PUT", body, headers: { "content-type": body.type } }, undefined, 3).then(() => refresh(), (error: unknown) => toast(explain(error))),
        () => toast("That file is not a picture this browser can read. A JPEG, PNG or WebP will do."),
      );
    });
    // A section that is linked to is opened.
    const wanted = location.hash ? document.getElementById(location.hash.slice(1))?.closest("section")?.querySelector("details") : null;
    if (wanted instanceof HTMLDetailsElement) wanted.open = true;
  }
}

customElements.define("lm-account", AccountElement);
