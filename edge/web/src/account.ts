// The account page: the picture; its forms are those of every page.

import { insist } from "./api";
import { explain, refresh, toast } from "./site";

const LARGEST = 10 << 20;

class AccountElement extends HTMLElement {
  connectedCallback(): void {
    const input = this.querySelector<HTMLInputElement>("[data-picture]");
    input?.addEventListener("change", () => {
      const file = input.files?.[0];
      input.value = "";
      if (!file) return;
      if (file.size > LARGEST) return toast("That picture is larger than 10 MB. Choose a smaller one.");
      void insist("/me/picture", { method: "PUT", body: file, headers: { "content-type": file.type } }, undefined, 3).then(() => refresh(), (error: unknown) => toast(explain(error)));
    });
    // A section that is linked to is opened.
    const wanted = location.hash ? document.getElementById(location.hash.slice(1))?.closest("section")?.querySelector("details") : null;
    if (wanted instanceof HTMLDetailsElement) wanted.open = true;
  }
}

customElements.define("lm-account", AccountElement);
