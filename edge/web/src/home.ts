import "./site";
import "./upload";

// The player's code comes when somebody wants to hear something.
class Demo extends HTMLElement {
  connectedCallback(): void {
    const plain = this.querySelector(".plain");
    if (!plain || this.querySelector(".demo-play")) return;
    const button = document.createElement("button");
    button.className = "button demo-play";
    button.innerHTML = '<svg class="icon" aria-hidden="true"><use href="#i-play"></use></svg>Play mix and master';
    plain.replaceChildren(button);
    button.addEventListener("click", () => void this.start(button), { once: true });
  }

  private async start(button: HTMLButtonElement): Promise<void> {
    button.disabled = true;
    const { PlayerElement } = await import("./player/element");
    const player = document.createElement("lm-player") as InstanceType<typeof PlayerElement>;
    Object.assign(player.dataset, { mix: this.dataset.mix, master: this.dataset.master, louder: this.dataset.gain, seconds: this.dataset.seconds, title: "Demo", demo: "" });
    const wave = this.querySelector(".wave");
    this.replaceChildren(...(wave ? [wave] : []), player);
    player.play();
    player.focusPlay();
  }
}

customElements.define("lm-demo", Demo);
