// A blind test: X is one of two, mix and master or two versions, picked at random each time; who hears a difference finds it more often
// than by chance.

export interface Trial {
  x: string;
  answer: string | null;
}

/** Probability of at least `right` of `trials` by guessing. */
export function byChance(right: number, trials: number): number {
  let [sum, choose] = [0, 1]; // choose = C(trials, k)
  for (let k = 0; k <= trials; k += 1) {
    if (k >= right) sum += choose;
    choose = (choose * (trials - k)) / (k + 1);
  }
  return Math.min(1, sum / 2 ** trials);
}

/** What the numbers mean, in a sentence. */
export function verdict(right: number, trials: number): string {
  if (trials < 5) return `${right} of ${trials} right. After ten or more it says something.`;
  const chance = byChance(right, trials);
  const percent = chance < 0.001 ? "less than 0.1" : (chance * 100).toFixed(chance < 0.1 ? 1 : 0);
  const meaning = chance < 0.01 ? "You hear the difference." : chance < 0.05 ? "You very likely hear the difference." : chance < 0.2 ? "You may be hearing it. Keep going for a clearer answer." : "This could well be guessing.";
  return `${right} of ${trials} right. ${meaning} Guessing gets this far ${percent}\u202f% of the time.`;
}

export class Abx {
  readonly trials: Trial[] = [];

  constructor(
    private readonly random: () => number = () => (crypto.getRandomValues(new Uint8Array(1))[0] ?? 0) / 256,
    readonly pair: readonly [string, string] = ["mix", "master"],
  ) {
    this.next();
  }

  private next(): void {
    this.trials.push({ x: this.pair[this.random() < 0.5 ? 0 : 1], answer: null });
  }

  get x(): string {
    return this.trials.at(-1)?.x ?? this.pair[0];
  }

  /** Takes an answer; whether it was right. */
  answer(side: string): boolean {
    const trial = this.trials.at(-1);
    if (!trial) return false;
    trial.answer = side;
    this.next();
    return trial.x === side;
  }

  get answered(): number {
    return this.trials.filter((trial) => trial.answer !== null).length;
  }

  get right(): number {
    return this.trials.filter((trial) => trial.answer === trial.x).length;
  }
}
