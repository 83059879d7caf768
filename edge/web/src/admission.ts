// A certain "no" before anything travels; the edge and the decoder judge again, with the same words.

const ENDINGS = /\.(aac|aifc?|aiff|alac|bwf|caf|flac|m4[ab]|mka|mkv|mp3|mp4|og[ag]|opus|rf64|wave?)$/i;

export function refusal(file: { name: string; size: number; type: string }, most: number): string | null {
  if (file.size === 0) return "0 bytes; export it again.";
  if (file.size > most) return "Too large; export FLAC, or fewer bits per sample.";
  const type = file.type.split(";")[0]?.trim().toLowerCase() ?? "";
  const audio = type === "" || /^(audio|video)\//.test(type) || /^application\/(octet-stream|ogg|mp4|x-flac|flac|x-matroska)$/.test(type);
  if (!audio && !ENDINGS.test(file.name)) return `This is ${type}, not audio; choose a WAV, AIFF, FLAC, MP3, M4A or OGG file.`;
  return null;
}
