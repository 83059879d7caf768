import { spawn } from "node:child_process";

/** Starts the stack where START says how; a stack that does not answer is a failure, never a skip. */
export default async function setup(): Promise<() => Promise<void>> {
  const base = process.env.BASE_URL ?? "http://127.0.0.1:3000";
  const start = process.env.START;
  const stack = start ? spawn(start, { shell: true, detached: true, stdio: ["ignore", "inherit", "inherit"] }) : null;
  let ended = "";
  stack?.on("exit", (code) => (ended = `START ended with ${code}`));
  const stop = async (): Promise<void> => {
    if (!stack?.pid || ended) return;
    process.kill(-stack.pid, "SIGTERM");
    for (let n = 0; n < 50 && !ended; n += 1) await new Promise((resolve) => setTimeout(resolve, 100));
  };
  for (let n = 0; n < 240; n += 1) {
    if (ended) throw new Error(ended);
    const answers = await fetch(`${base}/`).then((response) => response.ok, () => false);
    const ready = answers && (await fetch(`${base}/v1/destinations`).then((response) => response.status < 500, () => false));
    if (ready) return stop;
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
  await stop();
  throw new Error(`${base} does not answer. Start the stack, or say in START how.`);
}
