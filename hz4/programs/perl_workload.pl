# Prints what does not vary from run to run. Argument: how much there is to do, 1 if left out.
use strict;
use warnings;

my $scale = shift // 1;

if (my $library = $ENV{LD_PRELOAD}) {
    open(my $maps, '<', '/proc/self/maps') or die;
    die "LD_PRELOAD had no effect\n" unless grep { /\Q$library\E/ } <$maps>;
}

# A random sequence of our own: perl's may differ from build to build.
my $state = 12345;
sub draw {
    my ($limit) = @_;
    $state = ($state * 1103515245 + 12345) % 2147483648;
    return int($state / 2147483648 * $limit);
}

sub checksum {
    my $sum = 0;
    $sum = ($sum * 31 + unpack('%32C*', $_)) % 4294967291 for @_;
    return $sum;
}

my %words;
for my $i (1 .. 300000 * $scale) {
    my $word = join '', map { chr(97 + draw(26)) } 1 .. 1 + draw(4);
    $words{$word} .= $i % 10;
    delete $words{$word} if length $words{$word} > 12;
}
my @sorted = sort { length($words{$b}) <=> length($words{$a}) || $a cmp $b } keys %words;
print "hash ", scalar(@sorted), " ", checksum(map { "$_=$words{$_}" } @sorted), "\n";

my @strings = ('') x 500;
for my $i (1 .. 200000 * $scale) {
    my $at = draw(500);
    if (draw(50) == 0) { $strings[$at] = substr($strings[$at], 0, draw(100)) }
    else               { $strings[$at] .= chr(65 + $i % 26) x draw(200) }
}
print "strings ", checksum(@strings), "\n";

my $text = join ' ', @strings[0 .. 99];
(my $changed = $text) =~ s/([A-M]+)/lc($1) . length($1)/ge;
print "regex ", length($changed), " ", scalar(my @m = $changed =~ /[a-m]+\d+/g), "\n";

my @tree = map { { id => $_, list => [ map { $_ * 2 } 1 .. $_ % 20 ] } } 1 .. 50000 * $scale;
@tree = grep { $_->{id} % 3 } reverse @tree;
print "tree ", scalar(@tree), " ", checksum(map { "@{$_->{list}}" } @tree), "\n";

for my $child (1 .. 5) {
    pipe(my $in, my $out) or die;
    my $pid = fork() // die;
    if ($pid == 0) {
        my @again = sort { $a cmp $b } map { scalar reverse } @sorted;
        print {$out} checksum(@again), "\n";
        close $out;
        exit $child;
    }
    close $out;
    print "child ", scalar(<$in>);
    waitpid $pid, 0;
    print "status ", $? >> 8, "\n";
}
print `echo "from a shell"`;
