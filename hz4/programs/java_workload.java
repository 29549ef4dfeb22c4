import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.TreeMap;
import java.util.concurrent.atomic.AtomicLong;
import java.util.zip.CRC32;
import java.util.zip.DeflaterOutputStream;
import java.util.zip.InflaterInputStream;

/** Prints what does not vary from run to run. */
class Workload {
    /** Deflater, Inflater and direct buffers have their memory from malloc. */
    static long churn(int seed, int rounds) throws Exception {
        CRC32 sum = new CRC32();
        List<ByteBuffer> buffers = new ArrayList<>();
        for (int i = 0; i < rounds; i++) {
            byte[] data = new byte[100 + (i * 7919 + seed) % 20000];
            for (int k = 0; k < data.length; k++) data[k] = (byte) (k % (i + 2));
            ByteArrayOutputStream packed = new ByteArrayOutputStream();
            try (DeflaterOutputStream out = new DeflaterOutputStream(packed)) { out.write(data); }
            byte[] again = new InflaterInputStream(new ByteArrayInputStream(packed.toByteArray())).readAllBytes();
            ByteBuffer buffer = ByteBuffer.allocateDirect(again.length).put(again).flip();
            buffers.add(buffer);
            if (buffers.size() > 20) sum.update(buffers.remove(i % 20));
        }
        return sum.getValue();
    }

    static int depth(int n) { return n == 0 ? 0 : 1 + depth(n - 1); }

    static void threads() throws Exception {
        AtomicLong total = new AtomicLong();
        List<Thread> threads = new ArrayList<>();
        for (int t = 0; t < 40; t++) {
            int seed = t;
            long stack = t % 2 == 0 ? 0 : 160 * 1024;
            threads.add(new Thread(null, () -> {
                try {
                    total.addAndGet(churn(seed, 15) + depth(200));
                } catch (Exception e) {
                    throw new RuntimeException(e);
                }
            }, "thread " + t, stack));
        }
        for (Thread thread : threads) thread.start();
        for (Thread thread : threads) thread.join();
        System.out.println("threads " + total);

        // Many threads that live for a moment.
        for (int i = 0; i < 300; i++) {
            Thread thread = new Thread(null, () -> total.incrementAndGet(), "short", 160 * 1024);
            thread.start();
            thread.join();
        }
        System.out.println("short threads " + total);
    }

    static void processes() throws Exception {
        List<Process> processes = new ArrayList<>();
        for (int i = 0; i < 10; i++) {
            ProcessBuilder builder = new ProcessBuilder("sh", "-c", "read word; echo \"$word $NUMBER\"; exit $NUMBER");
            builder.environment().put("NUMBER", "" + i);
            processes.add(builder.redirectErrorStream(true).start());
        }
        for (Process process : processes) {
            process.getOutputStream().write("word\n".getBytes());
            process.getOutputStream().close();
            System.out.println(new String(process.getInputStream().readAllBytes()).strip() + " " + process.waitFor());
        }
    }

    public static void main(String[] arguments) throws Exception {
        String library = System.getenv("LD_PRELOAD");
        if (library != null && !Files.readString(Path.of("/proc/self/maps")).contains(library)) {
            throw new Exception("LD_PRELOAD had no effect");
        }
        System.out.println("main " + churn(1, 200));
        threads();
        processes();
        TreeMap<String, String> words = new TreeMap<>();
        for (int i = 0; i < 30000; i++) words.merge("word" + i * 31 % 5003, "" + i, String::concat);
        System.out.println("words " + words.toString().hashCode());
        try {
            depth(100_000_000);
        } catch (StackOverflowError e) {
            System.out.println("stack overflow");
        }
    }
}
