import { spawn, type ChildProcess } from "node:child_process";
import { createInterface } from "node:readline";

/** An OpenID provider of the tests' peers (PEERS is their folder), and what the stack has to know of it. */
async function provider(base: string): Promise<{ peer: ChildProcess; known: Record<string, string> }> {
  const peer = spawn("node", ["oidc.mjs", `${base}/auth/google/callback`], { cwd: process.env.PEERS, stdio: ["pipe", "pipe", "ignore"] });
  for await (const line of createInterface({ input: peer.stdout })) {
    if (!line.startsWith("{")) continue;
    const { port } = JSON.parse(line) as { port: number };
    const google = "LOOPMASTER_OIDC__GOOGLE__";
    return { peer, known: { [`${google}ISSUER`]: `http://127.0.0.1:${port}`, [`${google}CLIENT_ID`]: "loopmaster", [`${google}CLIENT_SECRET`]: "a secret of the tests" } };
  }
  throw new Error("the OpenID provider of the tests does not start");
}

/** Starts the stack where START says how; a stack that does not answer is a failure, never a skip. */
export default async function setup(): Promise<() => Promise<void>> {
  const base = process.env.BASE_URL ?? "http://127.0.0.1:3000";
  const start = process.env.START;
  const google = start && process.env.PEERS ? await provider(base) : null;
  const stack = start ? spawn(start, { shell: true, detached: true, stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...google?.known } }) : null;
  let ended = "";
  stack?.on("exit", (code) => (ended = `START ended with ${code}`));
  const stop = async (): Promise<void> => {
    google?.peer.kill();
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
